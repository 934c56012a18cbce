"""Why a session does not do what it was asked: one list for HTTP and for WebSockets."""

from __future__ import annotations

import enum


class Reason(enum.Enum):
    """A word for metrics and clients, and the HTTP status that fits."""

    NO_INPUT = "no_input", 400
    BAD_REQUEST = "bad_request", 400
    BAD_PATH = "bad_path", 400
    UNKNOWN_SESSION = "unknown_session", 404
    UNKNOWN_WORKSPACE = "unknown_workspace", 404
    UNKNOWN_ENGINE = "unknown_engine", 404
    UNKNOWN_TURN = "unknown_turn", 404
    NO_SUCH_FILE = "no_such_file", 404
    NO_WORKSPACE = "no_workspace", 409
    NO_TURN = "no_turn", 409
    UNKNOWN_APPROVAL = "unknown_approval", 409
    CONFLICT = "conflict", 409
    GIT = "git", 409
    ENDED = "ended", 409
    TOO_LARGE = "too_large", 413
    QUEUE_FULL = "queue_full", 429
    TOO_MANY_SESSIONS = "too_many_sessions", 429
    NO_ENGINE = "no_engine", 503
    ENGINE_FAILED = "engine_failed", 503
    DRAINING = "draining", 503

    @property
    def word(self) -> str:
        """Bounded, for logs and metrics."""
        return self.value[0]

    @property
    def status(self) -> int:
        """Of an HTTP answer that carries it."""
        return self.value[1]


class SessionRefused(Exception):
    """What was asked of a session is not done.

    :ivar reason: which of the reasons.
    :ivar text: one line for the user that says what to do.
    """

    def __init__(self, reason: Reason, text: str) -> None:
        Exception.__init__(self, text)
        self.reason = reason
        self.text = text
