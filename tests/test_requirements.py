"""docs/requirements.md names only what exists."""

from __future__ import annotations

import re
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

_ROOT = Path(__file__).parents[1]
_ROW = re.compile(r"^\| ([PG]\d+) \| (.+?) \| (.+?) \|$", re.M)
_NAMED = re.compile(r"`((?:tests|docs|webclient|README)[^`]*?)(?:::([A-Za-z_.]+))?`")


class RequirementsTests(SynchronousTestCase):
    """Every row can be followed."""

    def setUp(self) -> None:
        self.rows = _ROW.findall((_ROOT / "docs" / "requirements.md").read_text("utf-8"))

    def test_numbered(self) -> None:
        """Rows are numbered without a gap, so that none was lost."""
        numbers = [number for number, _, _ in self.rows]
        expected = [f"{letter}{n}" for letter in "PG" for n in range(1, sum(x[0] == letter for x in numbers) + 1)]
        self.assertEqual(numbers, expected)
        self.assertGreater(len(numbers), 100)

    def test_named_things_exist(self) -> None:
        """A test or a page that a row names is there; a test by its name is in that file."""
        for number, _, met_by in self.rows:
            named = _NAMED.findall(met_by)
            self.assertTrue(named or "issue" in met_by or "not so" in met_by, f"{number} names nothing")
            for file, test in named:
                path = _ROOT / file
                self.assertTrue(path.is_file(), f"{number} names {file}, which does not exist")
                if test:
                    self.assertIn(f"def {test.rpartition('.')[2]}(", path.read_text("utf-8"), number)
