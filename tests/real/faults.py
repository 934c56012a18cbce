"""What becomes of a request when the model server fails: what `docs/wire.md` promises and `test_faults` holds it to."""

from __future__ import annotations

from typing import NamedTuple


class Fault(NamedTuple):
    """One way to fail.

    :ivar act: of :mod:`tests.real.upstream`; several are the same to a client.
    :ivar code: the code word the client is told; empty where there is no error.
    :ivar reason: the word of logs and metrics; empty likewise.
    :ivar end: how the client's answer ends; see :data:`ENDS`.
    """

    what: str
    acts: tuple[str, ...]
    status: int
    code: str
    reason: str
    end: str


ENDS = {
    "answer": "an error answer in the caller's dialect",
    "event": "the dialect's error event, then the connection closes without the body's last chunk; never `[DONE]`",
    "cut": "the connection closes short of the stated length, or without the last chunk",
    "whole": "none: the client gets a whole answer",
}

_DOWN = (503, "upstream_unavailable")
SOCKET_FAULTS = (
    Fault("socket missing", (), *_DOWN, "upstream_missing", "answer"),
    Fault("socket stale, or bound and not listening", (), *_DOWN, "upstream_refused", "answer"),
    Fault("socket not ours to open", (), *_DOWN, "upstream_denied", "answer"),
    Fault("accept queue full for 2 s", (), *_DOWN, "upstream_busy", "answer"),
    Fault("socket of another kind, or no connection within `connect`", (), *_DOWN, "upstream_unreachable", "answer"),
)
"""The request did not reach the model server: `Retry-After: 1`."""

HEAD_FAULTS = (
    Fault("no answer within `first_byte`", ("silent",), 504, "upstream_timeout", "upstream_silent", "answer"),
    Fault(
        "closed or reset before the answer's head was whole",
        ("eof-at-once", "reset-at-once"),
        502,
        "upstream_died",
        "upstream_died",
        "answer",
    ),
    Fault(
        "no HTTP, bad status line, bare line feeds, control characters in a field",
        ("garbage", "bad-status", "bare-lf", "splitting", "nul"),
        502,
        "upstream_invalid",
        "upstream_garbage",
        "answer",
    ),
    Fault(
        "length and coding together, two lengths, an unknown coding",
        ("framed-twice",),
        502,
        "upstream_invalid",
        "upstream_garbage",
        "answer",
    ),
    Fault("101 that nobody asked for", ("upgrade",), 502, "upstream_invalid", "upstream_garbage", "answer"),
    Fault(
        "head over `limits.response_head`, or of more than 256 fields",
        ("huge-head", "many-fields"),
        502,
        "upstream_invalid",
        "upstream_head_too_large",
        "answer",
    ),
)
"""Nothing has been told to the client."""

BODY_FAULTS = (
    Fault(
        "other answer ends before its first byte",
        ("eof-before-body",),
        502,
        "upstream_died",
        "upstream_truncated",
        "answer",
    ),
    Fault("other answer shorter than its length", ("shorter",), 200, "upstream_died", "upstream_truncated", "cut"),
    Fault(
        "stream ends inside a chunk or without the last one",
        ("eof-in-chunk", "eof-at-border"),
        200,
        "upstream_died",
        "upstream_truncated",
        "event",
    ),
    Fault("stream reset", ("reset-in-chunk",), 200, "upstream_died", "upstream_truncated", "event"),
    Fault("bad chunk in a stream", ("bad-chunk",), 200, "upstream_died", "upstream_truncated", "event"),
    Fault(
        "stream silent for `idle`, or of comments only",
        ("stuck", "comments"),
        200,
        "upstream_timeout",
        "upstream_idle",
        "event",
    ),
)
"""The client has the head."""

HARMLESS = (
    Fault(
        "other ids than it was sent: ours stand in the answer, and it is counted",
        ("foreign-ids",),
        200,
        "",
        "",
        "whole",
    ),
    Fault(
        "more than the stated length, or a second head: dropped, the connection is not used again",
        ("longer", "second-head"),
        200,
        "",
        "",
        "whole",
    ),
    Fault("any number of 1xx heads within the limit of a head", ("interim",), 200, "", "", "whole"),
    Fault("slow, but never silent for `idle`", ("drip",), 200, "", "", "whole"),
    Fault("closed after an answer", ("close-after",), 200, "", "", "whole"),
)
"""Nothing that a client need know."""

GROUPS = (
    ("The request does not reach it (`Retry-After: 1`)", SOCKET_FAULTS),
    ("Before the client has a byte", HEAD_FAULTS),
    ("After the head", BODY_FAULTS),
    ("What is put up with", HARMLESS),
)
