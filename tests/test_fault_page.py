"""The table "When the model server fails" in docs/wire.md is the one that the real gateway is held to."""

from __future__ import annotations

import re
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from hadesgw.policy.refusals import catalogue
from tests.real.faults import ENDS, GROUPS
from tests.real.upstream import ACTS

PAGE = (Path(__file__).parents[1] / "docs" / "wire.md").read_text("utf-8")


def code(word: str) -> str:
    """How the page writes a word of the code."""
    return f"`{word}`" if word else ""


class FaultPageTests(SynchronousTestCase):
    """Page, table and code agree."""

    def test_the_page_has_the_faults_that_are_tested(self) -> None:
        """All of them, in order, with all that is said of them; nothing else."""
        table = PAGE.partition("<!-- faults: begin -->")[2].partition("<!-- faults: end -->")[0]
        written = [line for line in table.splitlines() if line and not re.fullmatch(r"[|-]+", line)]
        expected = []
        for title, faults in GROUPS:
            expected.append(f"| {title} | status | code | reason | end |")
            expected += [
                f"| {fault.what} | {fault.status} | {code(fault.code)} | {code(fault.reason)} | {fault.end} |"
                for fault in faults
            ]
        self.assertEqual(written, expected)

    def test_every_end_is_explained(self) -> None:
        """With the words the tests go by."""
        for end, meaning in ENDS.items():
            self.assertIn(f"- `{end}`: {meaning}.\n", PAGE)

    def test_every_fault_is_one_of_the_catalogue(self) -> None:
        """With its code; and with its status, unless the client has one already."""
        refusals = catalogue()
        for fault in (fault for _, faults in GROUPS for fault in faults if fault.reason):
            refusal = refusals[fault.reason]
            self.assertEqual(fault.code, refusal.code, fault)
            self.assertIn(fault.status, {refusal.status} if fault.end == "answer" else {200}, fault)
            self.assertIn(fault.end, ENDS)

    def test_every_fault_can_be_played(self) -> None:
        """By the upstream of the tests."""
        played = {act for _, faults in GROUPS for fault in faults for act in fault.acts}
        self.assertEqual(played - ACTS.keys(), set())
