"""The layer that lets in whom it knows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.web.resource import IResource

from hadesgw.http.site import Request
from hadesgw.interfaces import IGuardObserver
from hadesgw.policy import refusals
from hadesgw.policy.credentials import (
    Admitted,
    Client,
    ClientStore,
    Credential,
    CredentialError,
    DenialReason,
    Denied,
    Role,
    Warrant,
    parse_authorization,
)
from hadesgw.policy.exposure import Address
from hadesgw.policy.refusals import Refusal
from hadesgw.policy.session_tokens import SessionTokens
from hadesgw.policy.tickets import TicketStore, offered_ticket
from hadesgw.resources.layer import Layer
from hadesgw.resources.penalties import Penalties

_REFUSALS: Mapping[str, Refusal] = {
    "missing": refusals.NO_CREDENTIAL,
    "malformed": refusals.BAD_CREDENTIAL,
    "expired": refusals.EXPIRED_CREDENTIAL,
    "suspended": refusals.SUSPENDED_CLIENT,
}
_UNKNOWN = Denied(DenialReason.UNKNOWN)
_CHALLENGE = [(b"WWW-Authenticate", b'Bearer realm="hadesgw", Basic realm="hadesgw"')]


class Guard(Layer):
    """Admits a request whose credential names a client with the role this path needs.

    :param clients: who may come.
    :param role: the least role that may pass.
    :param wall: seconds since the epoch.
    :param observer: told of every refused credential.
    :param penalties: makes whoever fails again and again wait for the answer.
    :param tickets: what a WebSocket may show in place of a credential; None where there is no WebSocket.
    :param clock: monotonic seconds, by which tickets expire.
    :param agents: tokens of coding sessions' agents, which are good from this machine only; None where no agent has
        anything to ask.
    """

    def __init__(
        self,
        inner: IResource,
        clients: ClientStore,
        role: Role,
        wall: Callable[[], float],
        observer: IGuardObserver,
        penalties: Penalties,
        tickets: TicketStore | None,
        clock: Callable[[], float],
        agents: SessionTokens | None = None,
    ) -> None:
        Layer.__init__(self, inner)
        self._clients = clients
        self._role = role
        self._wall = wall
        self._observer = observer
        self._penalties = penalties
        self._tickets = tickets
        self._clock = clock
        self._agents = agents

    def render(self, request: Request) -> bytes | int:
        """Admit, or refuse before anything of the body is read."""
        values = request.head.values
        if self._tickets is not None:
            ticket = offered_ticket(values(b"sec-websocket-protocol"))
            if ticket is not None:
                return self._redeem(self._tickets, ticket, request)
        credential = parse_authorization(values(b"authorization"), values(b"x-api-key"))
        certificate = request.certificate if isinstance(credential, CredentialError) else None  # else it does not count
        verdict = self._clients.identify(credential, datetime.fromtimestamp(self._wall(), UTC), certificate)
        if verdict == _UNKNOWN and isinstance(credential, Credential):
            verdict = self._agent(credential, request) or verdict
        if not isinstance(verdict, Admitted):
            self._observer.credential_refused(verdict.reason)
            refusal = _REFUSALS.get(verdict.reason, refusals.WRONG_CREDENTIAL)
            return self._penalties.refuse(request, refusal, _CHALLENGE if refusal.status == 401 else ())
        return self._admit(verdict.client, request)

    def _agent(self, credential: Credential, request: Request) -> Admitted | None:
        """The verdict on what may be an agent's token: of its session's client, if it comes from this machine."""
        if self._agents is None:
            return None
        assert request.channel is not None
        peer = request.channel.getPeer()
        if not isinstance(peer, IPv4Address | IPv6Address) or not Address.of(peer.host, peer.port).local:
            return None
        return self._agents.admit(credential)

    def _redeem(self, tickets: TicketStore, ticket: str, request: Request) -> bytes | int:
        """Admit by a ticket. Whoever shows one has no other credential: two could be of two clients."""
        index = request.head.index
        if b"authorization" in index or b"x-api-key" in index:
            self._observer.credential_refused("malformed")
            return self._penalties.refuse(request, refusals.BAD_CREDENTIAL, ())
        warrant = tickets.redeem(ticket, index.get(b"origin"), self._clock())
        client = None if warrant is None else warrant()
        if client is None:
            self._observer.credential_refused("ticket")
            return self._penalties.refuse(request, refusals.BAD_TICKET, _CHALLENGE)
        request.warrant = warrant
        return self._admit(client, request)

    def _admit(self, client: Client, request: Request) -> bytes | int:
        request.record.client = client.name
        if not client.may(self._role):
            self._observer.credential_refused("role")
            return request.refuse(refusals.ROLE_TOO_LOW)
        return self.pass_on(request)


class Warrants:
    """By what the clients of one path have come in, for resources there that live longer than a request.

    :param clients: who may come.
    :param role: the least role that may pass.
    :param wall: seconds since the epoch.
    """

    def __init__(self, clients: ClientStore, role: Role, wall: Callable[[], float]) -> None:
        self._clients = clients
        self._role = role
        self._wall = wall

    def of(self, request: Request) -> Warrant:
        """What the client of `request`, whom a guard has admitted, has come in by: its ticket's, or what it shows."""
        shown = request.warrant or self._shown(request)

        def admitted() -> Client | None:
            client = shown()
            return client if client is not None and client.may(self._role) else None

        return admitted

    def _shown(self, request: Request) -> Warrant:
        values = request.head.values
        credential = parse_authorization(values(b"authorization"), values(b"x-api-key"))
        return self._clients.warrant(
            request.record.client or "",
            credential,
            lambda: datetime.fromtimestamp(self._wall(), UTC),
            request.certificate if isinstance(credential, CredentialError) else None,
        )
