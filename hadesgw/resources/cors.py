"""The layer that lets pages of listed origins read what they are answered (Fetch standard, CORS protocol).

It decides nothing about who may call: requests of other origins have been refused before any resource was asked
(`http/channel.py`). It stands outside the guard, because a browser's preflight carries no credential, and because a
page must be able to read a refusal. A page has to show its token itself: `Access-Control-Allow-Credentials`, which
would let the browser add what it remembers, is never sent.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from twisted.web.resource import IResource
from twisted.web.server import NOT_DONE_YET

from hadesgw.http.site import Request
from hadesgw.policy.origins import Origins
from hadesgw.resources.layer import Layer

MAX_AGE_SECONDS = 7200
"""How long a browser may go by one preflight: the longest Chromium does. An origin that is taken off the list is
refused at once all the same, because every request is judged by its own `Origin`."""

_METHODS = b"GET, HEAD, POST, PUT, PATCH, DELETE"
_REQUEST_FIELDS = (
    "accept",
    "anthropic-beta",
    "anthropic-dangerous-direct-browser-access",
    "anthropic-version",
    "authorization",  # by name: `*` would not cover it
    "cache-control",
    "content-type",
    "idempotency-key",
    "last-event-id",
    "openai-beta",
    "openai-organization",
    "openai-project",
    "traceparent",
    "tracestate",
    "user-agent",
    "x-api-key",
)
"""What pages and the SDKs in them send. That they may send a field to us does not mean that it goes on upstream."""
_SDK_FIELD = re.compile(rb"x-stainless-[a-z0-9-]{1,48}")
"""The OpenAI and Anthropic SDKs add fields of this family, and further ones with each release."""
_ANSWER_FIELDS = (
    "Retry-After",
    "x-ratelimit-limit-requests",
    "x-ratelimit-remaining-requests",
    "x-ratelimit-reset-requests",
    "x-ratelimit-limit-tokens",
    "x-ratelimit-remaining-tokens",
    "x-ratelimit-reset-tokens",
    "X-Hades-Token-Budget",
)
_VARY = (b"vary", b"Origin")


class Cors(Layer):
    """Answers preflights, and says in every answer to a listed origin that its page may read it.

    :param origins: the listed ones.
    :param ids: names of the correlation fields.
    """

    def __init__(self, inner: IResource, origins: Origins, ids: Iterable[str]) -> None:
        Layer.__init__(self, inner)
        ids = tuple(ids)
        self._origins = origins
        self._accepted = ", ".join((*_REQUEST_FIELDS, *(name.lower() for name in ids))).encode("ascii")
        self._exposed = (b"access-control-expose-headers", ", ".join((*ids, *_ANSWER_FIELDS)).encode("ascii"))

    def render(self, request: Request) -> bytes | int:
        """Answer a preflight; mark the answer of anything else, whoever makes it."""
        head = request.head
        request.standing.append(_VARY)  # also for who sends no origin: the next one who asks may send one
        if b"origin" not in head.index:
            return self.pass_on(request)
        origin = self._origins.listed(head.values(b"origin"))
        if origin is None:
            return self.pass_on(request)
        request.standing.append((b"access-control-allow-origin", origin))
        if request.method == b"OPTIONS" and b"access-control-request-method" in head.index:
            return self._answer_preflight(request)
        request.standing.append(self._exposed)
        return self.pass_on(request)

    def _answer_preflight(self, request: Request) -> int:
        """Say what may be asked; the browser compares, and the request itself is judged by the layers within."""
        request.setResponseCode(204, b"No Content")
        request.setHeader(b"Access-Control-Allow-Methods", _METHODS)
        request.setHeader(b"Access-Control-Allow-Headers", self._accepted + _sdk_fields(request))
        request.setHeader(b"Access-Control-Max-Age", b"%d" % MAX_AGE_SECONDS)
        if request.head.index.get(b"access-control-request-private-network") == b"true":
            request.setHeader(b"Access-Control-Allow-Private-Network", b"true")  # the page's site is public, we are not
        request.write(b"")
        request.finish()
        return NOT_DONE_YET


def _sdk_fields(request: Request) -> bytes:
    """Those of the asked-for fields that are an SDK's, to be put behind the others."""
    wanted = b",".join(request.head.values(b"access-control-request-headers")).lower().split(b",")
    return b"".join(b", " + name.strip() for name in wanted if _SDK_FIELD.fullmatch(name.strip()))
