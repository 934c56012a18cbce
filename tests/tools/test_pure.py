"""Tests of `tools.pure`."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tools.pure import PROJECT, module_name, own_test, pure_modules


class PureTests(SynchronousTestCase):
    """Which modules are pure, what they are called, where their tests are."""

    def test_patterns_are_looked_up_in_the_tree(self) -> None:
        """Modules that exist are found in order, packages and modules yet to be written are not."""
        root = Path(self.mktemp())
        for name in ("policy/__init__.py", "policy/b.py", "policy/a.py", "http/framing.py", "http/agent.py"):
            path = root / "hadesgw" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        self.assertEqual(
            pure_modules(root),
            [Path("hadesgw/http/framing.py"), Path("hadesgw/policy/a.py"), Path("hadesgw/policy/b.py")],
        )

    def test_the_rules_of_the_wire_are_pure(self) -> None:
        """In this tree the framing of requests and every policy are on the list."""
        found = {str(path) for path in pure_modules(PROJECT)}
        self.assertTrue({"hadesgw/http/framing.py", "hadesgw/policy/refusals.py"} <= found, found)

    def test_names_follow_paths(self) -> None:
        """A module is named by its path, a package by its folder."""
        self.assertEqual(module_name(Path("hadesgw/http/sse.py")), "hadesgw.http.sse")
        self.assertEqual(module_name(Path("hadesgw/http/__init__.py")), "hadesgw.http")

    def test_tests_mirror_the_tree(self) -> None:
        """The package's name is left out, the folders below it are kept."""
        self.assertEqual(own_test(Path("hadesgw/http/sse.py")), Path("tests/http/test_sse.py"))
        self.assertEqual(own_test(Path("hadesgw/config.py")), Path("tests/test_config.py"))
