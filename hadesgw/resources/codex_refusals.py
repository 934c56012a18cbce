"""How the refusals of sessions are said by HTTP."""

from __future__ import annotations

from hadesgw.policy.refusals import Refusal
from hadesgw.sessions.refusals import Reason, SessionRefused

_RETRY_AFTER = {Reason.NO_ENGINE: 60, Reason.TOO_MANY_SESSIONS: 10, Reason.ENGINE_FAILED: 5}
"""Seconds after which it may be worth while to ask again: an engine has to be installed, a session to end."""


def refusal_of(refused: SessionRefused) -> Refusal:
    """The answer that says `refused`. Its words are for the client alone; the reason is for metrics and logs."""
    reason = refused.reason
    retry_after = _RETRY_AFTER.get(reason, 1) if reason.status in (429, 503) else None
    return Refusal(
        status=reason.status, reason=reason.word, code=reason.word, message=refused.text, retry_after=retry_after
    )
