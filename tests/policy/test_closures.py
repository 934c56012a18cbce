"""The closures: a catalogue whose entries fit a close frame."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from hadesgw.policy import closures, refusals
from hadesgw.policy.closures import GOING_AWAY, INTERNAL, Closure, catalogue, closure_of

OURS_TO_SEND = {1000, 1001, 1002, 1003, 1007, 1008, 1009, 1011, 1013}
"""Of RFC 6455 7.4.1 and IANA's registry: what a server may put into a close frame, and we do."""


class ClosureTests(SynchronousTestCase):
    """What holds of every entry."""

    def test_codes_are_a_servers(self) -> None:
        """None that is reserved, a client's, or nobody's."""
        self.assertLessEqual({closure.code for closure in catalogue().values()}, OURS_TO_SEND)

    def test_words_fit_the_frame(self) -> None:
        """One sentence that a control frame has room for."""
        for closure in catalogue().values():
            self.assertLessEqual(len(closure.message.encode()), 123, closure)
            self.assertTrue(closure.message.endswith("."), closure)

    def test_reasons_are_their_own(self) -> None:
        """No two share a slug, and none is a refusal's: one label in a metric means one thing."""
        slugs = [value.reason for value in vars(closures).values() if isinstance(value, Closure)]
        self.assertEqual(sorted(slugs), sorted(catalogue()))
        self.assertEqual({*catalogue()} & {*refusals.catalogue()} - {"internal"}, set())

    def test_of_a_refusal(self) -> None:
        """A defect is told as one; what else ends a request in its middle is the gateway's end."""
        self.assertIs(closure_of(refusals.INTERNAL), INTERNAL)
        self.assertIs(closure_of(refusals.STREAM_DRAINED), GOING_AWAY)
