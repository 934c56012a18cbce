"""Tests of `tools.own_coverage`, on a small tree of their own."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tools.own_coverage import shortcoming, shortcomings

MODULE = """
def sign(number):
    if number < 0:
        return -1
    return 1
"""
TESTS = """
from twisted.trial.unittest import SynchronousTestCase
from hadesgw.policy.{name} import sign

class SignTests(SynchronousTestCase):
    def test_sign(self):
        for number, expected in {cases}:
            self.assertEqual(sign(number), expected)
"""


class OwnCoverageTests(SynchronousTestCase):
    """What is measured, and what is told of it."""

    def setUp(self) -> None:
        self.root = Path(self.mktemp()).absolute()
        for folder in ("hadesgw/policy", "tests/policy"):
            (self.root / folder).mkdir(parents=True)
        for package in ("hadesgw", "hadesgw/policy", "tests", "tests/policy"):
            (self.root / package / "__init__.py").touch()

    def add(self, name: str, cases: str | None) -> Path:
        """Add a module and, if there are cases, its tests."""
        module = Path("hadesgw/policy", f"{name}.py")
        (self.root / module).write_text(MODULE)
        if cases is not None:
            (self.root / "tests/policy" / f"test_{name}.py").write_text(TESTS.format(name=name, cases=cases))
        return module

    def test_a_module_that_its_tests_cover_is_passed(self) -> None:
        """Nothing is missing when every line and branch is run."""
        self.assertIsNone(shortcoming(self.root, self.add("whole", "((-2, -1), (2, 1))")))

    def test_what_is_not_covered_is_told(self) -> None:
        """For each module: the line that was not run, the test that failed, the file that is not there."""
        modules = [
            self.add("part", "((2, 1),)"),
            self.add("wrong", "((-2, 1), (2, 1))"),
            self.add("bare", None),
        ]
        part, wrong, bare = shortcomings(self.root, modules)
        self.assertRegex(part, r"hadesgw/policy/part\.py: not wholly covered by tests/policy/test_part\.py")
        self.assertRegex(part, r"67%\s+4\b")
        self.assertIn("FailTest: -1 != 1", wrong)
        self.assertIn("bare.py: its tests belong into tests/policy/test_bare.py, which is not there", bare)
