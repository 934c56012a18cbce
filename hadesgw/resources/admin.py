"""The leaf of the operator: who the clients are, who of them is suspended, what limits are in force.

It is in no default tree. It stands behind a guard that asks for the role `admin`, obeys no page but our own, and logs
every act with who did it.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec
from twisted.web.resource import Resource

from hadesgw.http.site import Request
from hadesgw.interfaces import IRequestLog
from hadesgw.policy import refusals
from hadesgw.policy.credentials import Client, ClientStore
from hadesgw.policy.origins import own_origin
from hadesgw.policy.request_body import is_json


class Admin(Resource):
    """`GET clients`, `POST clients/NAME/suspend`, `POST clients/NAME/resume`, `GET limits`, below its own path.

    :param clients: who may come.
    :param limits: what is in force now, as JSON values.
    """

    isLeaf = True

    def __init__(self, clients: ClientStore, limits: Callable[[], object], log: IRequestLog) -> None:
        Resource.__init__(self)
        self._clients = clients
        self._limits = limits
        self._log = log

    def render(self, request: Request) -> bytes | int:
        """Show or act, or say why not."""
        if request.record.client is None:
            return request.refuse(refusals.NOT_FOUND)
        if not _of_our_own(request):
            return request.refuse(refusals.FOREIGN_ORIGIN)
        match request.postpath:
            case [b"clients"]:
                return self._show(request, self._listing)
            case [b"limits"]:
                return self._show(request, self._limits)
            case [b"clients", name, (b"suspend" | b"resume") as act]:
                return self._act(request, name.decode("latin-1"), suspend=act == b"suspend")
        return request.refuse(refusals.NOT_FOUND)

    def _show(self, request: Request, what: Callable[[], object]) -> bytes | int:
        if request.method not in (b"GET", b"HEAD"):
            return request.refuse(refusals.METHOD_NOT_ALLOWED, [(b"Allow", b"GET, HEAD")])
        return _answer(request, what())

    def _listing(self) -> object:
        suspended = self._clients.suspended
        return {
            "clients": [_shown(client, client.name in suspended) for client in self._clients.everybody],
            "suspended": sorted(suspended),
        }

    def _act(self, request: Request, name: str, *, suspend: bool) -> bytes | int:
        """Suspend or resume; doing it twice changes nothing. The request's body is not read."""
        if request.method != b"POST":
            return request.refuse(refusals.METHOD_NOT_ALLOWED, [(b"Allow", b"POST")])
        if not is_json(request.head.values(b"content-type")):
            return request.refuse(refusals.UNSUPPORTED_TYPE)
        was = name in self._clients.suspended
        if not was and all(client.name != name for client in self._clients.everybody):
            return request.refuse(refusals.UNKNOWN_CLIENT)
        if suspend:
            self._clients.suspend(name)
        else:
            self._clients.resume(name)
        self._log.event(
            "client_suspended" if suspend else "client_resumed",
            level="warn",
            actor=request.record.client,
            client=name,
            changed=was != suspend,
            request_id=request.correlation.request_id.decode("ascii"),
        )
        return _answer(request, {"name": name, "suspended": suspend})


def _of_our_own(request: Request) -> bool:
    """Whether no page of another site asks, a listed one included: those may use the model, not rule the gateway."""
    presented = request.head.values(b"origin")
    return not presented or presented == [own_origin(request.isSecure(), request.head.index.get(b"host"))]


def _shown(client: Client, suspended: bool) -> dict[str, object]:
    """What an operator may know of a client: no digest of a token."""
    return {
        "name": client.name,
        "roles": [role.word for role in sorted(client.roles)],
        "suspended": suspended,
        "tokens": [{"expires": token.expires} for token in client.tokens],
        "certificate": client.certificate,
        "models": client.models,
        "requests_per_second": client.requests_per_second,
        "burst": client.burst,
        "max_in_flight": client.max_in_flight,
        "tokens_per_minute": client.tokens_per_minute,
    }


def _answer(request: Request, document: object) -> bytes:
    request.setHeader(b"Content-Type", b"application/json")
    request.setHeader(b"Cache-Control", b"no-store")
    return msgspec.json.encode(document)
