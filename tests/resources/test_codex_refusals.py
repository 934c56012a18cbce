"""How sessions' refusals are said by HTTP."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from hadesgw.resources.codex_refusals import refusal_of
from hadesgw.sessions.refusals import Reason, SessionRefused


class RefusalTests(SynchronousTestCase):
    """Every reason there is."""

    def test_every_reason(self) -> None:
        """Its own status and word, and `Retry-After` exactly where waiting may help."""
        for reason in Reason:
            refusal = refusal_of(SessionRefused(reason, "so it is"))
            self.assertEqual((refusal.status, refusal.reason, refusal.code), (reason.status, reason.word, reason.word))
            self.assertEqual(refusal.message, "so it is")
            self.assertEqual(refusal.retry_after is not None, reason.status in (429, 503), reason)
