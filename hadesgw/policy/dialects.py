"""How a refusal is said: the error forms of the three protocols that pass through the door, and of our own sessions.

OpenAI's chat form is also vLLM's and the default; the Responses API has the same body but its own event in a stream;
Anthropic's Messages has both its own. A client library raises its proper exception only when it hears its own dialect.
Coding sessions answer everything, errors too, with `status` and `message`.
"""

from __future__ import annotations

import enum

import msgspec

from hadesgw.policy.refusals import Refusal
from hadesgw.policy.response_trail import ResponseTrail


class Dialect(enum.Enum):
    """The protocol the caller speaks, told by the path it calls."""

    OPENAI = "openai"
    RESPONSES = "responses"
    ANTHROPIC = "anthropic"
    SESSIONS = "sessions"


def dialect_of(path: bytes) -> Dialect:
    """The dialect spoken at `path` (the raw path of the request target)."""
    if path == b"/v1/responses" or path.startswith(b"/v1/responses/"):
        return Dialect.RESPONSES
    if path == b"/v1/messages" or path.startswith(b"/v1/messages/"):
        return Dialect.ANTHROPIC
    if path.startswith((b"/api/codex/", b"/ws/codex/")) or path in (b"/api/codex", b"/ws/codex"):
        return Dialect.SESSIONS
    return Dialect.OPENAI


# `type` words by status, as the two vendors publish them; anything else is the server's fault.
_OPENAI_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
}
_ANTHROPIC_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}


def _type(refusal: Refusal, types: dict[int, str], server_fault: str) -> str:
    known = types.get(refusal.status)
    if known is not None:
        return known
    return "invalid_request_error" if refusal.status < 500 else server_fault


def _openai_error(refusal: Refusal) -> dict[str, str | None]:
    return {
        "message": refusal.message,
        "type": _type(refusal, _OPENAI_TYPES, "server_error"),
        "param": refusal.param,
        "code": refusal.code,
    }


def _anthropic_error(refusal: Refusal) -> dict[str, object]:
    return {
        "type": "error",
        "error": {"type": _type(refusal, _ANTHROPIC_TYPES, "api_error"), "message": refusal.message},
    }


def error_body(refusal: Refusal, dialect: Dialect) -> bytes:
    """The JSON body that says `refusal` in `dialect`."""
    if refusal.body is not None:
        return refusal.body
    if dialect is Dialect.ANTHROPIC:
        return msgspec.json.encode(_anthropic_error(refusal))
    if dialect is Dialect.SESSIONS:
        return msgspec.json.encode({"status": "error", "message": refusal.message, "code": refusal.code})
    return msgspec.json.encode({"error": _openai_error(refusal)})


def error_event(refusal: Refusal, dialect: Dialect, trail: ResponseTrail | None = None) -> bytes:
    """The event that ends a stream because of `refusal`: complete Server-Sent Event bytes, LF framed.

    There is no `[DONE]` after it: in no dialect may a stream that broke look as if it had come to its end.

    :param trail: what a stream of the Responses API has said of itself; the event belongs to that response.
    """
    if dialect is Dialect.ANTHROPIC:
        return b"event: error\ndata: " + msgspec.json.encode(_anthropic_error(refusal)) + b"\n\n"
    if dialect is Dialect.RESPONSES:
        event = _failed_response(refusal, trail or ResponseTrail())
        return b"event: response.failed\ndata: " + msgspec.json.encode(event) + b"\n\n"
    if dialect is Dialect.SESSIONS:  # as everything that a session tells
        return b"data: " + msgspec.json.encode({"type": "error", "content": refusal.message}) + b"\n\n"
    return b"data: " + msgspec.json.encode({"error": _openai_error(refusal)}) + b"\n\n"


def _failed_response(refusal: Refusal, trail: ResponseTrail) -> dict[str, object]:
    event: dict[str, object] = {"type": "response.failed"}
    response: dict[str, object] = {"object": "response", "status": "failed"}
    if trail.next_number is not None:
        event["sequence_number"] = trail.next_number
    if trail.response_id is not None:
        response["id"] = trail.response_id
    response["error"] = {"code": refusal.code, "message": refusal.message}
    return {**event, "response": response}
