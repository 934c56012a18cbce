"""Every answer the gateway makes in place of the model's: one catalogue, in the order a request meets them.

A refusal is a value. `reason` is the bounded word of metrics and logs; `code` is the word a program reads in the body;
`message` is for the person and never repeats anything the client sent. How it looks on the wire is `dialects`' duty.
"""

from __future__ import annotations

import msgspec
from msgspec import structs


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """One refusal.

    :ivar status: HTTP status code.
    :ivar reason: stable slug for the `reason` label and log field.
    :ivar code: machine-readable code in the body.
    :ivar message: one sentence for the person.
    :ivar retry_after: whole seconds for `Retry-After` (RFC 9110 10.2.3), or None when waiting cannot help.
    :ivar close: whether the connection must end because its framing can no longer be trusted.
    :ivar body: the exact body when a contract fixes it; None lets the dialect write it.
    :ivar param: the field of the request that is at fault, where one is; never a name that only the client knows.
    """

    status: int
    reason: str
    code: str
    message: str
    retry_after: int | None = None
    close: bool = False
    body: bytes | None = None
    param: str | None = None


class Refused(Exception):
    """Raised where a request is refused; carries the :class:`Refusal`."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.reason)
        self.refusal = refusal


def _framing(status: int, reason: str, message: str) -> Refusal:
    """A fault of framing: what follows on the connection cannot be trusted, so it is closed."""
    return Refusal(status=status, reason=reason, code=reason, message=message, close=True)


# -- Before the request is understood (RFC 9112, RFC 9110) -------------------------------------------------------------
BAD_REQUEST_LINE = _framing(400, "bad_request_line", "The request line is not well formed.")
BAD_TARGET = _framing(400, "bad_target", "The request target must be an absolute path with valid characters.")
BAD_FIELD = _framing(400, "bad_field", "A header field is not well formed.")
BAD_HOST = _framing(400, "bad_host", "Exactly one well-formed Host header is required.")
BAD_LENGTH = _framing(400, "bad_length", "The length of the request body is not stated unambiguously.")
BAD_CHUNK = _framing(400, "bad_chunk", "The chunked request body is not well formed.")
BAD_TRAILER = _framing(400, "bad_trailer", "Trailer fields are not accepted.")
BAD_VERSION = _framing(505, "bad_version", "Only HTTP/1.1 and HTTP/1.0 are spoken here.")
UNKNOWN_CODING = _framing(501, "unknown_coding", "The only transfer coding accepted is chunked.")
UNKNOWN_METHOD = _framing(501, "unknown_method", "The request method is not implemented.")
TARGET_TOO_LONG = _framing(414, "target_too_long", "The request target is too long.")
HEAD_TOO_LARGE = _framing(431, "head_too_large", "The request header fields are too large or too many.")
HEAD_TIMEOUT = _framing(408, "head_timeout", "The request head did not arrive in time.")
MISDIRECTED = _framing(421, "misdirected", "This server does not answer for the requested host name.")
ENCODED_BODY = _framing(415, "encoded_body", "Encoded request bodies are not accepted; send the body as it is.")
FOREIGN_ORIGIN = Refusal(
    status=403,
    reason="foreign_origin",
    code="origin_not_allowed",
    message="Pages of this origin may not call here: it is neither this server's own nor listed in [cors] origins.",
    close=True,
)
BAD_EXPECTATION = _framing(417, "bad_expectation", "The only expectation understood is 100-continue.")
TOO_MANY_CONNECTIONS = Refusal(
    status=503,
    reason="too_many_connections",
    code="overloaded",
    message="Too many connections are open. Try again shortly.",
    retry_after=1,
    close=True,
)

# -- The body ----------------------------------------------------------------------------------------------------------
BODY_TOO_LARGE = _framing(413, "body_too_large", "The request body is larger than this route allows.")
BODY_TIMEOUT = _framing(408, "body_timeout", "The request body did not arrive in time.")
BODY_MEMORY = Refusal(
    status=503,
    reason="body_memory",
    code="overloaded",
    message="The gateway is holding as many request bodies as it may. Try again shortly.",
    retry_after=1,
    close=True,
)

# -- Where to, and who asks --------------------------------------------------------------------------------------------
NOT_FOUND = Refusal(status=404, reason="not_found", code="not_found", message="There is nothing at this path.")
METHOD_NOT_ALLOWED = Refusal(
    status=405, reason="method_not_allowed", code="method_not_allowed", message="This path does not allow that method."
)
BAD_CREDENTIAL = Refusal(
    status=400,
    reason="bad_credential",
    code="invalid_credential",
    message="The credential is not well formed: send exactly one Authorization header or one x-api-key.",
)
NO_CREDENTIAL = Refusal(
    status=401,
    reason="no_credential",
    code="missing_api_key",
    message="No API key was given. Send it as: Authorization: Bearer KEY.",
)
WRONG_CREDENTIAL = Refusal(
    status=401, reason="wrong_credential", code="invalid_api_key", message="The API key is not known here."
)
EXPIRED_CREDENTIAL = Refusal(
    status=401, reason="expired_credential", code="expired_api_key", message="The API key has expired."
)
BAD_TICKET = Refusal(
    status=401,
    reason="bad_ticket",
    code="invalid_ticket",
    message="The ticket is not good: it is spent, older than 30 seconds, or of another page. Ask for a new one.",
)
SUSPENDED_CLIENT = Refusal(
    status=403, reason="suspended_client", code="client_suspended", message="This client is suspended."
)
ADMISSION_ENDED = Refusal(
    status=403,
    reason="admission_ended",
    code="admission_ended",
    message="This client may not come in any more.",
)
"""For an event stream whose client is suspended or taken out meanwhile, or whose credential or role is."""
ROLE_TOO_LOW = Refusal(
    status=403, reason="role_too_low", code="insufficient_role", message="This client's role may not use this path."
)

UNKNOWN_CLIENT = Refusal(
    status=404, reason="unknown_client", code="client_not_found", message="There is no client of this name."
)

# -- WebSockets (RFC 6455 4.2) -----------------------------------------------------------------------------------------
UPGRADE_REQUIRED = Refusal(
    status=426,
    reason="upgrade_required",
    code="upgrade_required",
    message="This path speaks WebSocket: ask for it with Upgrade: websocket and Connection: Upgrade.",
)
WEBSOCKET_VERSION = Refusal(
    status=426,
    reason="websocket_version",
    code="upgrade_required",
    message="Only version 13 of the WebSocket protocol is spoken here.",
)
BAD_UPGRADE = Refusal(
    status=400,
    reason="bad_upgrade",
    code="invalid_upgrade",
    message="The WebSocket handshake is not well formed.",
)
TOO_MANY_SOCKETS = Refusal(
    status=429,
    reason="too_many_sockets",
    code="concurrency_limit_exceeded",
    message="This client has as many WebSockets and event streams open as it may.",
    retry_after=1,
)

# -- How much: `Retry-After` is worked out for each, what stands here is the least ------------------------------------
RATE_LIMITED = Refusal(
    status=429,
    reason="rate_limited",
    code="rate_limit_exceeded",
    message="This client sends more requests than its rate allows.",
    retry_after=1,
)
TOKENS_LIMITED = Refusal(
    status=429,
    reason="tokens_limited",
    code="rate_limit_exceeded",
    message="This client has taken as many tokens as it may in a minute.",
    retry_after=1,
)
TOKENS_BEYOND_MINUTE = Refusal(
    status=400,
    reason="tokens_beyond_minute",
    code="tokens_per_minute_too_low",
    message="The request asks for more tokens than this client may take in a minute. Waiting cannot help.",
)
TOO_MANY_IN_FLIGHT = Refusal(
    status=429,
    reason="too_many_in_flight",
    code="concurrency_limit_exceeded",
    message="This client has as many requests in flight as it may, and no more can wait.",
    retry_after=1,
)
IN_FLIGHT_TOO_LONG = Refusal(
    status=429,
    reason="in_flight_too_long",
    code="concurrency_limit_exceeded",
    message="This client has as many requests in flight as it may, and none of them ended in time.",
    retry_after=1,
)
QUEUE_FULL = Refusal(
    status=503,
    reason="queue_full",
    code="server_is_overloaded",
    message="The model server is busy, and no more requests can wait for it.",
    retry_after=1,
)
QUEUE_TOO_LONG = Refusal(
    status=503,
    reason="queue_too_long",
    code="server_is_overloaded",
    message="The model server is busy, and this request's turn did not come in time.",
    retry_after=1,
)

# -- What is asked -----------------------------------------------------------------------------------------------------
UNSUPPORTED_TYPE = Refusal(
    status=415,
    reason="unsupported_type",
    code="unsupported_media_type",
    message="Requests are JSON and say so: Content-Type: application/json.",
)


def _invalid(reason: str, code: str, message: str, param: str | None = None) -> Refusal:
    """The body was read, and cannot be served."""
    return Refusal(status=400, reason=reason, code=code, message=message, param=param)


BAD_ENCODING = _invalid("bad_encoding", "invalid_json", "The request body is not valid UTF-8.")
BAD_JSON = _invalid("bad_json", "invalid_json", "The request body is not a well-formed JSON object.")
DUPLICATE_FIELD = _invalid("duplicate_field", "duplicate_field", "A field stands twice in the request.")
TOO_DEEP = _invalid("too_deep", "request_too_complex", "The request body is nested too deeply.")
TOO_COMPLEX = _invalid("too_complex", "request_too_complex", "The request body has too many parts.")
NO_MODEL = _invalid("no_model", "missing_required_parameter", "The request does not name a model.", "model")
MODEL_NOT_FOUND = Refusal(
    status=404,
    reason="model_not_found",
    code="model_not_found",
    message="The model does not exist, or this client may not use it.",
    param="model",
)
REFUSED_FIELD = _invalid("refused_field", "unsupported_parameter", "The request has a field that clients may not set.")
BAD_PARAMETER = _invalid("bad_parameter", "invalid_value", "A field of the request has a value that is not allowed.")
BAD_QUERY = _invalid("bad_query", "invalid_query", "The query of the request is not well formed.")
BAD_CONVERSATION = _invalid(
    "bad_conversation", "invalid_value", "The conversation has a part that is not as its protocol has it."
)
REMOTE_MEDIA = _invalid(
    "remote_media",
    "remote_media_disabled",
    "Pictures, sounds and files are taken only from the request, as data: URLs.",
)
TOKEN_BUDGET = Refusal(
    status=400,
    reason="token_budget",
    code="token_budget_exceeded",
    message="Prompt and asked output are more tokens than a request may have.",
    body=b'{"error": "TOKEN_BUDGET_EXCEEDED"}',
)


def refused_field(name: str) -> Refusal:
    """:data:`REFUSED_FIELD`, with the field's name, which is one of the configuration's."""
    return structs.replace(REFUSED_FIELD, message=f"Clients may not set the field {name}.", param=name)


def bad_parameter(name: str, words: str) -> Refusal:
    """:data:`BAD_PARAMETER`, with the name of a field we know and what it must be."""
    return structs.replace(BAD_PARAMETER, message=f"The field {name} must be {words}.", param=name)


# -- The model behind the socket ---------------------------------------------------------------------------------------


def _unavailable(reason: str, message: str) -> Refusal:
    """The upstream took nothing of the request: trying again is safe."""
    return Refusal(status=503, reason=reason, code="upstream_unavailable", message=message, retry_after=1)


UPSTREAM_MISSING = _unavailable("upstream_missing", "The model server is not there: its socket does not exist.")
UPSTREAM_REFUSED = _unavailable("upstream_refused", "The model server is not listening on its socket.")
UPSTREAM_DENIED = _unavailable("upstream_denied", "The gateway may not open the model server's socket.")
UPSTREAM_BUSY = _unavailable("upstream_busy", "The model server accepts no more connections at the moment.")
UPSTREAM_UNREACHABLE = _unavailable("upstream_unreachable", "The model server cannot be reached.")
DRAINING = _unavailable("draining", "The gateway is shutting down.")
UPSTREAM_DIED = Refusal(
    status=502,
    reason="upstream_died",
    code="upstream_died",
    message="The model server closed the connection before it answered.",
)
UPSTREAM_GARBAGE = Refusal(
    status=502,
    reason="upstream_garbage",
    code="upstream_invalid",
    message="The model server's answer is not valid HTTP.",
)
UPSTREAM_HEAD_TOO_LARGE = Refusal(
    status=502,
    reason="upstream_head_too_large",
    code="upstream_invalid",
    message="The header of the model server's answer is too large.",
)
UPSTREAM_SILENT = Refusal(
    status=504,
    reason="upstream_silent",
    code="upstream_timeout",
    message="The model server did not begin to answer in time.",
)

# -- After the answer's head: these end a stream, they never start an answer -------------------------------------------
STREAM_TRUNCATED = Refusal(
    status=502,
    reason="upstream_truncated",
    code="upstream_died",
    message="The model server's answer broke off before its end.",
)
STREAM_IDLE = Refusal(
    status=504,
    reason="upstream_idle",
    code="upstream_timeout",
    message="The model server fell silent in the middle of its answer.",
)
CLIENT_STALLED = Refusal(
    status=408,
    reason="client_stalled",
    code="client_stalled",
    message="The client took nothing of the answer for too long.",
)
STREAM_DRAINED = Refusal(
    status=503,
    reason="drained",
    code="gateway_shutdown",
    message="The gateway shut down before the answer's end.",
    retry_after=1,  # it begins an answer where there is none yet
)

INTERNAL = Refusal(
    status=500, reason="internal", code="internal_error", message="The gateway failed; its log tells why."
)


def catalogue() -> dict[str, Refusal]:
    """Every refusal by its `reason`.

    :raises RuntimeError: if two entries share a reason, which would make a metric ambiguous.
    """
    entries: dict[str, Refusal] = {}
    for value in globals().values():
        if isinstance(value, Refusal) and entries.setdefault(value.reason, value) is not value:
            raise RuntimeError(f"two refusals are called {value.reason!r}")
    return entries
