"""docs/wire.md says what the code does: the tables are compared, both ways."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from hadesgw.http.framing import upstream_fields
from hadesgw.policy.refusals import catalogue
from hadesgw.resources.models import MODELS_ROUTE
from hadesgw.resources.proxy import ROUTES

PAGE = (Path(__file__).parents[1] / "docs" / "wire.md").read_text("utf-8")


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


class WirePageTests(SynchronousTestCase):
    """The page and the code agree."""

    def test_refusals(self) -> None:
        """Every refusal stands in the table, with all that it says; nothing else does."""
        table = PAGE.partition("<!-- refusals: begin -->")[2].partition("<!-- refusals: end -->")[0]
        written = [_cells(line) for line in table.strip().splitlines()[2:]]
        expected = [
            [
                f"`{refusal.reason}`",
                str(refusal.status),
                f"`{refusal.code}`",
                "yes" if refusal.close else "",
                "" if refusal.retry_after is None else str(refusal.retry_after),
                refusal.message,
            ]
            for refusal in catalogue().values()
        ]
        self.assertEqual(written, expected)

    def test_routes(self) -> None:
        """The routes in the table are the routes of the proxy."""
        lines = [_cells(line) for line in PAGE.splitlines() if line.startswith("| `/v1/")]
        routes = {*ROUTES, MODELS_ROUTE, MODELS_ROUTE + b"/NAME"}
        self.assertEqual({cells[0].strip("`").encode() for cells in lines}, routes)

    def test_upstream_fields(self) -> None:
        """Every field the page lists goes upstream."""
        listed = PAGE.partition("An allow list of fields: ")[2].partition(", and the two ids")[0].split(",")
        names = [name.strip().strip("`").encode() for name in listed]
        self.assertEqual([name for name, _ in upstream_fields([(name, b"x") for name in names])], names)
