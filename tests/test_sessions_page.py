"""docs/sessions.md says what the code does: its tables are compared, both ways."""

from __future__ import annotations

import re
from pathlib import Path

from msgspec.structs import fields
from twisted.trial.unittest import SynchronousTestCase

from hadesgw.policy import closures
from hadesgw.resources.codex_calls import CALLS
from hadesgw.resources.codex_socket import ACTS
from hadesgw.sessions import messages
from hadesgw.sessions.refusals import Reason

PAGE = (Path(__file__).parents[1] / "docs" / "sessions.md").read_text("utf-8")
WORD = re.compile(r"`([^`]+)`")


def table(name: str) -> list[list[str]]:
    """The cells of the rows of the table between the markers of that name."""
    text = PAGE.partition(f"<!-- {name}: begin -->")[2].partition(f"<!-- {name}: end -->")[0]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in text.strip().splitlines()[2:]]


class SessionsPageTests(SynchronousTestCase):
    """The page and the code agree."""

    def test_calls(self) -> None:
        """Every call stands there with what it sends and asks, in order; nothing else does."""
        written = [tuple(WORD.findall(cell) for cell in cells[:3]) for cells in table("calls")]
        expected = [
            (
                [f"{call.method.decode()} /api/codex/{call.path}"],
                [found.name for found in fields(call.body)] if call.body else [],
                [found.name for found in fields(call.query) if found.name != "client"],
            )
            for call in CALLS
        ]
        self.assertEqual(written, expected)
        self.assertEqual([cells[3] for cells in table("calls")], [call.summary for call in CALLS])

    def test_incoming_messages(self) -> None:
        """What a client may send, in order."""
        self.assertEqual([WORD.findall(cells[0])[0] for cells in table("incoming")], list(ACTS))

    def test_outgoing_messages(self) -> None:
        """What it is told: the types that the module of messages lists, and the socket's own."""
        listed = re.findall(r"^`(\w+)` ", messages.__doc__ or "", re.MULTILINE)
        self.assertEqual({WORD.findall(cells[0])[0] for cells in table("outgoing")}, {*listed, "pong"})

    def test_closures(self) -> None:
        """How a socket ends: code, reason and words."""
        expected = [[str(found.code), f"`{found.reason}`", found.message] for found in closures.catalogue().values()]
        self.assertEqual(table("closures"), expected)

    def test_reasons(self) -> None:
        """Why something is not done: word and status."""
        expected = [[f"`{reason.word}`", str(reason.status)] for reason in Reason]
        self.assertEqual([cells[:2] for cells in table("reasons")], expected)
