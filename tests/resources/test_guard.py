"""The guard: who is let in, and what the others hear."""

from __future__ import annotations

import hashlib
import random
from base64 import b64encode
from datetime import UTC, datetime, timedelta
from functools import partial

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.interfaces import IAddress
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from hadesgw.http.site import Request
from hadesgw.interfaces import IGuardObserver
from hadesgw.policy.credentials import (
    Client,
    ClientCertificate,
    ClientDirectory,
    ClientStore,
    Role,
    Token,
    Warrant,
    anonymous_client,
)
from hadesgw.policy.origins import Origins
from hadesgw.policy.session_tokens import SessionTokens
from hadesgw.policy.tickets import TicketStore
from hadesgw.resources.guard import Guard, Warrants
from hadesgw.resources.penalties import Penalties
from tests.resources.test_penalties import Lines
from tests.wire.answers import Answer
from tests.wire.door import Door, Leaf

_TOKEN = "hgw_" + "k" * 43  # nosecret: of nobody
_BEARER = b"Authorization: Bearer %b\r\n" % _TOKEN.encode()
_NOW = datetime(2026, 11, 21, tzinfo=UTC)


def _client(
    role: Role = Role.USER, expires: datetime | None = None, name: str = "alice", token: str = _TOKEN
) -> Client:
    digest = hashlib.sha256(token.encode()).digest()
    return Client(name=name, roles=frozenset((role,)), tokens=(Token(digest, expires),))


@implementer(IGuardObserver)
class _Notes:
    def __init__(self) -> None:
        self.refused: list[str] = []

    def credential_refused(self, reason: str) -> None:
        self.refused.append(reason)


class GuardTests(SynchronousTestCase):
    """Each credential, and its answer."""

    now = 0.0

    def setUp(self) -> None:
        self.notes = _Notes()
        verifyObject(IGuardObserver, self.notes)

    def _ask(self, store: ClientStore, fields: bytes, role: Role = Role.USER, path: bytes = b"/v1/x") -> Answer:
        def who(request: Request) -> bytes:
            return (request.record.client or "nobody").encode()

        self.leaf = Leaf(who)
        caller = Door(self._guard(self.leaf, store, role)).call()
        caller.send(b"GET %b HTTP/1.1\r\nHost: localhost\r\n%b\r\n" % (path, fields))
        return caller.answer(b"GET")

    def _guard(self, leaf: Leaf, store: ClientStore, role: Role = Role.USER) -> Guard:
        self.tickets = TicketStore(random.Random(7).randbytes)
        self.warrant = partial(store.standing, "alice")
        penalties = Penalties(Clock(), Lines())
        return Guard(leaf, store, role, _NOW.timestamp, self.notes, penalties, self.tickets, lambda: self.now)

    def _store(self, *clients: Client) -> ClientStore:
        return ClientStore(ClientDirectory(clients or (_client(),)), None)

    def test_admits(self) -> None:
        """Bearer, x-api-key and Basic let the same client in, and the layer leaves no trace in the answer."""
        basic = b64encode(f"alice:{_TOKEN}".encode())
        for fields in (
            b"Authorization: Bearer %b\r\n" % _TOKEN.encode(),
            b"authorization: bearer %b\r\n" % _TOKEN.encode(),
            b"x-api-key: %b\r\n" % _TOKEN.encode(),
            b"Authorization: Basic %b\r\n" % basic,
        ):
            answer = self._ask(self._store(), fields)
            self.assertEqual((answer.status, answer.body), (200, b"alice"))
            self.assertEqual(answer.all(b"www-authenticate"), [])
        self.assertEqual(self.notes.refused, [])

    def test_refuses(self) -> None:
        """No, wrong, malformed, doubled and expired credentials: each its status and code; nobody reaches the leaf."""
        bearer = b"Authorization: Bearer %b\r\n" % _TOKEN.encode()
        expired = self._store(_client(expires=_NOW))
        cases = [
            (self._store(), b"", 401, b"missing_api_key", "missing"),
            (self._store(), b"Authorization: Bearer hgw_%b\r\n" % (b"x" * 43), 401, b"invalid_api_key", "unknown"),
            (self._store(), b"Authorization: Digest abc\r\n", 400, b"invalid_credential", "malformed"),
            (self._store(), bearer * 2, 400, b"invalid_credential", "malformed"),
            (self._store(), bearer + b"x-api-key: other\r\n", 400, b"invalid_credential", "malformed"),
            (expired, bearer, 401, b"expired_api_key", "expired"),
        ]
        for store, fields, status, code, reason in cases:
            answer = self._ask(store, fields)
            self.assertEqual(answer.status, status, fields)
            self.assertIn(code, answer.body)
            self.assertNotIn(_TOKEN.encode(), answer.body)
            self.assertEqual(bool(answer.all(b"www-authenticate")), status == 401)
            self.assertEqual(self.leaf.asked, [])
            self.assertEqual(self.notes.refused.pop(), reason)

    def test_certificate(self) -> None:
        """What TLS has verified is as good as a token where none is presented, and is judged at every request."""
        robot = Client(name="robot", roles=frozenset((Role.USER,)), certificate="DNS:robot.example")
        store = self._store(_client(), robot)
        bearer = b"Authorization: Bearer %b\r\n" % _TOKEN.encode()
        now, later = _NOW, _NOW + timedelta(seconds=1)
        for name, expires, fields, expected in (
            ("DNS:robot.example", later, b"", (200, b"robot")),
            ("DNS:robot.example", later, bearer, (200, b"alice")),
            ("DNS:robot.example", now, b"", (401, b"expired_api_key")),
            ("DNS:other.example", later, b"", (401, b"invalid_api_key")),
        ):
            caller = Door(self._guard(Leaf(lambda request: (request.record.client or "").encode()), store)).call()
            certificate = ClientCertificate(frozenset((name,)), expires)
            caller.transport.client_certificate = certificate  # type: ignore[attr-defined]
            caller.send(b"GET / HTTP/1.1\r\nHost: localhost\r\n%b\r\n" % fields)
            answer = caller.answer(b"GET")
            self.assertEqual(answer.status, expected[0])
            self.assertIn(expected[1], answer.body)

    def test_basic_of_another(self) -> None:
        """A token under another's name is nobody's."""
        basic = b64encode(f"bob:{_TOKEN}".encode())
        self.assertEqual(self._ask(self._store(), b"Authorization: Basic %b\r\n" % basic).status, 401)

    def _show(self, guard: Guard, ticket: str, fields: bytes = b"", protocol: bytes = b"hades.v1") -> Answer:
        caller = Door(guard, origins=Origins(["http://localhost:3000"])).call()
        offer = b"Sec-WebSocket-Protocol: %b, hades.ticket.%b\r\n" % (protocol, ticket.encode())
        caller.send(b"GET /ws/codex HTTP/1.1\r\nHost: localhost\r\n%b%b\r\n" % (offer, fields))
        return caller.answer(b"GET")

    def test_ticket(self) -> None:
        """A ticket lets in the client that asked for it: once, in its time, from its page, by our protocol only."""
        page, other = b"Origin: http://localhost:3000\r\n", b"Origin: http://localhost\r\n"
        for asked, shown, later, protocol, expected in (
            (b"http://localhost:3000", page, 29.9, b"hades.v1", (200, b"alice")),
            (None, b"", 0.0, b"hades.v1", (200, b"alice")),
            (b"http://localhost:3000", page, 30.0, b"hades.v1", (401, b"invalid_ticket")),
            (b"http://localhost:3000", other, 0.0, b"hades.v1", (401, b"invalid_ticket")),
            (b"http://localhost:3000", b"", 0.0, b"hades.v1", (401, b"invalid_ticket")),
            (None, b"", 0.0, b"graphql", (401, b"invalid_ticket")),
        ):
            leaf = Leaf(lambda request: (request.record.client or "").encode())
            guard = self._guard(leaf, self._store())
            self.now = 100.0
            ticket = self.tickets.issue("alice", asked, self.now, self.warrant)
            self.now += later
            answer = self._show(guard, ticket, shown, protocol)
            self.assertEqual(answer.status, expected[0], (asked, shown, later))
            self.assertIn(expected[1], answer.body)
            again = self._show(guard, ticket, shown)
            if protocol == b"hades.v1":  # else it has not been taken for a ticket, and is not spent
                self.assertEqual((again.status, len(leaf.asked)), (401, int(expected[0] == 200)))
            self.assertNotIn(ticket.encode(), answer.body + again.body)

    def test_ticket_that_fails_is_not_forgiven(self) -> None:
        """Not where the anonymous client is, and not beside a credential that is good."""
        leaf = Leaf(lambda request: b"")
        store = ClientStore(ClientDirectory((_client(),)), anonymous_client(Role.USER))
        guard = self._guard(leaf, store)
        self.assertEqual(self._show(guard, "x" * 32).status, 401)
        bearer = b"Authorization: Bearer %b\r\n" % _TOKEN.encode()
        self.assertEqual(self._show(guard, self.tickets.issue("alice", None, 0.0, self.warrant), bearer).status, 400)
        self.assertEqual((self.notes.refused, leaf.asked), (["ticket", "malformed"], []))

    def test_ticket_of_a_client_who_may_not_come_in(self) -> None:
        """One that is suspended meanwhile, or whose role is too low for this path."""
        leaf = Leaf(lambda request: b"")
        store = self._store(_client(Role.OBSERVER))
        guard = self._guard(leaf, store)
        self.assertEqual(self._show(guard, self.tickets.issue("alice", None, 0.0, self.warrant)).status, 403)
        ticket = self.tickets.issue("alice", None, 0.0, self.warrant)
        store.suspend("alice")
        self.assertEqual((self._show(guard, ticket).status, leaf.asked), (401, []))

    def test_no_tickets_where_there_is_no_websocket(self) -> None:
        """Elsewhere nobody looks for one."""
        leaf = Leaf(lambda request: b"")
        penalties = Penalties(Clock(), Lines())
        guard = Guard(leaf, self._store(), Role.USER, _NOW.timestamp, self.notes, penalties, None, Clock().seconds)
        self.assertEqual(self._show(guard, "x" * 32).status, 401)
        self.assertEqual(self.notes.refused, ["missing"])

    def _agent(self, tokens: SessionTokens | None, token: str, peer: IAddress) -> tuple[int, bytes]:
        """What an agent with that token hears that calls from `peer`."""
        guard = Guard(
            Leaf(lambda request: (request.record.client or "nobody").encode()),
            self._store(),
            Role.USER,
            _NOW.timestamp,
            self.notes,
            Penalties(Clock(), Lines()),
            None,
            Clock().seconds,
            tokens,
        )
        caller = Door(guard).call()
        caller.channel.peer = peer
        caller.send(b"GET /v1/x HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %b\r\n\r\n" % token.encode())
        answer = caller.answer(b"GET")
        return answer.status, answer.body

    def test_an_agent_of_a_session(self) -> None:
        """Is let in as its session's client: from this machine alone, where agents have something to ask, in time."""
        tokens = SessionTokens({"alice": _client()}.get, random.Random(5).randbytes)
        token = tokens.issue("alice", "session_1")
        here = [
            IPv4Address("TCP", "127.0.0.1", 1),
            IPv6Address("TCP", "::1", 1),
            IPv6Address("TCP", "::ffff:127.0.0.1", 1),
        ]
        for peer in here:
            self.assertEqual(self._agent(tokens, token, peer), (200, b"alice"))
        elsewhere = [IPv4Address("TCP", "10.0.0.9", 1), IPv6Address("TCP", "fe80::1", 1), UNIXAddress(b"/run/x")]
        for peer in elsewhere:
            self.assertEqual(self._agent(tokens, token, peer)[0], 401)
        self.assertEqual(self._agent(None, token, here[0])[0], 401)
        self.assertEqual(self._agent(tokens, "hgw_" + "x" * 43, here[0])[0], 401)
        tokens.revoke("session_1")
        self.assertEqual(self._agent(tokens, token, here[0])[0], 401)
        self.assertEqual(self.notes.refused, ["unknown"] * 6)

    def test_role(self) -> None:
        """A known client whose role is too low is told so."""
        answer = self._ask(self._store(), b"x-api-key: %b\r\n" % _TOKEN.encode(), role=Role.ADMIN)
        self.assertEqual((answer.status, self.notes.refused), (403, ["role"]))
        self.assertIn(b"insufficient_role", answer.body)

    def test_suspended(self) -> None:
        """A suspended client is refused at its next request."""
        store = self._store()
        store.suspend("alice")
        answer = self._ask(store, b"x-api-key: %b\r\n" % _TOKEN.encode())
        self.assertEqual((answer.status, self.notes.refused), (403, ["suspended"]))

    def test_anonymous(self) -> None:
        """The anonymous client is who presents nothing; a wrong credential is not forgiven."""
        store = ClientStore(ClientDirectory(()), anonymous_client(Role.USER))
        self.assertEqual(self._ask(store, b"").body, b"anonymous")
        self.assertEqual(self._ask(store, b"x-api-key: hgw_%b\r\n" % (b"x" * 43)).status, 401)

    def test_dialect(self) -> None:
        """The refusal is in the caller's dialect."""
        self.assertIn(b'"type":"error"', self._ask(self._store(), b"", path=b"/v1/messages").body)

    def test_before_the_body(self) -> None:
        """A refused upload is not asked for: no 100 Continue, and the connection is not kept for it."""
        caller = Door(self._guard(Leaf(lambda request: b""), self._store())).call()
        caller.send(b"POST /v1/x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9999\r\nExpect: 100-continue\r\n\r\n")
        self.assertNotIn(b"100 Continue", caller.received)
        answer = caller.answer(b"POST")
        self.assertEqual((answer.status, answer.one(b"connection")), (401, b"close"))


class WarrantTests(SynchronousTestCase):
    """By what somebody has come in, for as long as a socket or an event stream lasts."""

    def setUp(self) -> None:
        self.now = _NOW
        self.store = self._store(_client(expires=_NOW + timedelta(hours=1)))
        self.warrants = Warrants(self.store, Role.USER, self._wall)

    def _wall(self) -> float:
        return self.now.timestamp()

    def _store(self, *clients: Client, anonymous: Client | None = None) -> ClientStore:
        return ClientStore(ClientDirectory(clients), anonymous)

    def _warrant(self, fields: bytes = _BEARER, name: str = "alice") -> Warrant:
        """What alice has come in by; the request is over by now."""
        leaf = Leaf(lambda request: b"")
        Door(leaf).call().send(b"GET / HTTP/1.1\r\nHost: localhost\r\n%b\r\n" % fields)
        leaf.asked[0].record.client = name
        return self.warrants.of(leaf.asked[0])

    def test_good_as_long_as_the_credential(self) -> None:
        """Until the token expires, and not one moment longer."""
        warrant = self._warrant()
        self.now += timedelta(minutes=59)
        self.assertEqual(warrant(), self.store.named("alice"))
        self.now += timedelta(minutes=1)
        self.assertIsNone(warrant())

    def test_what_ends_it(self) -> None:
        """A lower role, another token, a token that is somebody else's now, the client's end, a suspension."""
        warrant = self._warrant()
        for clients in ([_client(Role.OBSERVER)], [_client(token="hgw_" + "x" * 43)], [_client(name="bob")], []):
            before = self.store.directory
            self.assertIsNotNone(warrant())
            self.store.replace(ClientDirectory(clients))
            self.assertIsNone(warrant(), clients)
            self.store.replace(before)
        self.store.suspend("alice")
        self.assertIsNone(warrant())

    def test_what_does_not(self) -> None:
        """Another token beside it, a higher role."""
        warrant = self._warrant()
        self.store.replace(ClientDirectory([_client(Role.ADMIN)]))
        self.assertIsNotNone(warrant())

    def test_who_shows_nothing(self) -> None:
        """Is the anonymous client, as long as there is one; nobody else's name helps."""
        anonymous = anonymous_client(Role.USER)
        self.store = self._store(anonymous=anonymous)
        self.warrants = Warrants(self.store, Role.USER, self._wall)
        self.assertEqual(self._warrant(b"", anonymous.name)(), anonymous)
        self.assertIsNone(self._warrant(b"")())

    def test_a_ticket(self) -> None:
        """It is good for as long as that by which its client has come for it."""
        issued = self._warrant()
        leaf = Leaf(lambda request: b"")
        Door(leaf).call().send(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        leaf.asked[0].warrant = issued
        warrant = self.warrants.of(leaf.asked[0])
        self.assertIsNotNone(warrant())
        self.now += timedelta(hours=1)
        self.assertIsNone(warrant())
