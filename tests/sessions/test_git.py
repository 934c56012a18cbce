"""What git says, read: whole, or cut where it was longer than anybody reads."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from hadesgw.sessions.git import parse_status
from hadesgw.sessions.views import Change

ID = "0123456789abcdef0123456789abcdef01234567"
FACTS = f"100644 100644 100644 {ID} {ID}"
OUTPUT = "\0".join(
    (
        f"# branch.oid {ID}",
        "# branch.head main",
        f"1 .M N... {FACTS} a file.py",
        f"1 D. N... {FACTS} gone.py",
        f"2 R. N... {FACTS} R100 new.py",
        "old.py",
        f"u UU N... 100644 {FACTS} {ID} both.py",
        "? unknown.py",
        "",
    )
).encode()
CHANGES = [
    Change("a file.py", "modified"),
    Change("gone.py", "deleted"),
    Change("new.py", "renamed"),
    Change("both.py", "conflicted"),
    Change("unknown.py", "untracked"),
]


class StatusTests(SynchronousTestCase):
    """Porcelain format 2."""

    def test_whole(self) -> None:
        """Branch, commit and every change."""
        status = parse_status(OUTPUT, truncated=False)
        self.assertEqual((status.branch, status.commit, status.truncated), ("main", ID, False))
        self.assertEqual(status.changes, CHANGES)

    @given(st.integers(0, len(OUTPUT)))
    def test_cut_anywhere(self, length: int) -> None:
        """What is there as a whole is told, what was cut is left out, and that there is more is said."""
        status = parse_status(OUTPUT[:length], truncated=True)
        self.assertEqual(status.changes, CHANGES[: len(status.changes)])
        self.assertTrue(status.truncated)
        self.assertIn(status.commit, (None, ID))
