"""The leaf for clients that drive coding sessions by plain HTTP.

`codex_calls` has the table of what can be asked; here is what all calls have in common: how a request is read and
judged, how it is answered, and that a client sees no sessions but its own.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cached_property
from urllib.parse import unquote

import msgspec
from msgspec import Struct
from twisted.internet.defer import maybeDeferred
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from hadesgw.http.site import Request
from hadesgw.policy import refusals
from hadesgw.policy.credentials import Client, Role
from hadesgw.policy.refusals import Refused
from hadesgw.resources.codex_calls import CALLS, STREAMED, Acts, Asked, Call
from hadesgw.resources.codex_refusals import refusal_of
from hadesgw.resources.openapi import document
from hadesgw.resources.reading import end_by_defect, when_read
from hadesgw.sessions.incoming import Asker, Nothing, read_object, read_query
from hadesgw.sessions.refusals import SessionRefused

DOCUMENT = "openapi.json"
_JSON = re.compile(rb"application/json(?:[ \t]*;[ \t]*charset=\"?utf-8\"?)?", re.IGNORECASE)


class Codex(Resource):
    """All calls, and their OpenAPI document, below one path. It stands behind a guard.

    :param path: where it is mounted.
    :param acts: what is done for each call.
    :param standing: the client of a name, if it may come in at this moment.
    :param cap: the most bytes a request's body may have, by path.
    """

    isLeaf = True

    def __init__(
        self, path: str, acts: Acts, standing: Callable[[str], Client | None], cap: Callable[[bytes], int]
    ) -> None:
        Resource.__init__(self)
        self._path = path.rstrip("/")
        self._acts = acts
        self._standing = standing
        self._cap = cap

    def render(self, request: Request) -> bytes | int:
        """Do what is asked, or say why not."""
        if request.record.client is None:
            return request.refuse(refusals.NOT_FOUND)
        try:
            segments = [unquote(segment.decode("ascii"), errors="strict") for segment in request.postpath or ()]
        except UnicodeDecodeError:
            return request.refuse(refusals.NOT_FOUND)
        if segments == [DOCUMENT]:
            return self._describe(request)
        found = [(call, names) for call in CALLS if (names := call.names(segments)) is not None]
        if not found:
            return request.refuse(refusals.NOT_FOUND)
        request.record.route = f"{self._path}/{found[0][0].path}"
        for call, names in found:
            if call.method == request.method or (request.method == b"HEAD" and _may_be_headed(call)):
                return self._take(request, call, names)
        return _refuse_method(request, [call for call, _ in found])

    @cached_property
    def _document(self) -> bytes:
        """Made when it is first asked for: that takes as long as a start should."""
        return msgspec.json.encode(document(self._path))

    def _describe(self, request: Request) -> bytes | int:
        request.record.route = f"{self._path}/{DOCUMENT}"
        if request.method not in (b"GET", b"HEAD"):
            return request.refuse(refusals.METHOD_NOT_ALLOWED, [(b"Allow", b"GET, HEAD")])
        request.setHeader(b"Content-Type", b"application/json")
        return self._document

    # -- Reading -------------------------------------------------------------------------------------------------------

    def _take(self, request: Request, call: Call, names: dict[str, str]) -> int:
        """Judge what does not need the body, then get that."""
        try:
            query = read_query(request.uri, call.query)
            client = self._whose(request, query)
            if call.body is None:
                self._act(request, call, Asked(request, client, names, query, Nothing()))
                return NOT_DONE_YET
            _judge_type(request)
        except Refused as refused:
            return request.refuse(refused.refusal)
        kind, cap = call.body, self._cap(request.path)

        def take(body: bytes) -> None:
            request.record.bytes_in = len(body)
            try:
                asked = Asked(request, client, names, query, read_object(body, kind))
            except Refused as refused:
                request.refuse(refused.refusal)
            else:
                self._act(request, call, asked)

        return when_read(request, cap, take)

    def _whose(self, request: Request, query: Struct) -> str:
        """The client whose sessions are meant: its own, or another's for an administrator.

        :raises Refused: for anybody else.
        """
        own = request.record.client
        assert own is not None and isinstance(query, Asker)
        if query.client is None or query.client == own:
            return own
        client = self._standing(own)
        if client is None or not client.may(Role.ADMIN):
            raise Refused(refusals.ROLE_TOO_LOW)
        return query.client

    # -- Answering -----------------------------------------------------------------------------------------------------

    def _act(self, request: Request, call: Call, asked: Asked) -> None:
        gone: list[bool] = []
        request.at_end(gone.append)
        acting = maybeDeferred(call.act, self._acts, asked)
        acting.addCallback(_answer, request, gone).addErrback(_refused, request, gone)
        acting.addErrback(end_by_defect, request)


def _answer(answer: object, request: Request, gone: list[bool]) -> None:
    if answer is STREAMED or gone:
        return
    body = msgspec.json.encode(answer)
    request.setHeader(b"Content-Type", b"application/json")
    request.setHeader(b"Cache-Control", b"no-store")
    request.setHeader(b"Content-Length", b"%d" % len(body))
    request.write(body)
    request.finish()


def _refused(failure: Failure, request: Request, gone: list[bool]) -> None:
    problem = failure.value
    if not isinstance(problem, SessionRefused | Refused):
        failure.raiseException()
    elif not gone:
        request.refuse(refusal_of(problem) if isinstance(problem, SessionRefused) else problem.refusal)


def _judge_type(request: Request) -> None:
    """See that a request that acts is no form a page can send without being asked (Fetch standard, CORS protocol).

    The guide's `start` and `stop` have neither a body nor a type; what the type says of nothing does not matter then.

    :raises Refused: if it says that it is anything but JSON.
    """
    kinds = request.head.values(b"content-type")
    if not kinds and request.head.length == 0:
        return
    if len(kinds) != 1 or not _JSON.fullmatch(kinds[0]):
        raise Refused(refusals.UNSUPPORTED_TYPE)


def _may_be_headed(call: Call) -> bool:
    return call.method == b"GET" and call.answer is not None


def _refuse_method(request: Request, calls: list[Call]) -> int:
    allowed = [call.method for call in calls]
    if any(map(_may_be_headed, calls)):
        allowed.append(b"HEAD")
    return request.refuse(refusals.METHOD_NOT_ALLOWED, [(b"Allow", b", ".join(allowed))])
