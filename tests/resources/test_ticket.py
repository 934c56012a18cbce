"""The ticket leaf: a ticket for whoever is there, on its own path, by POST."""

from __future__ import annotations

import json

from twisted.trial.unittest import SynchronousTestCase

from hadesgw.http.site import Request
from hadesgw.policy.credentials import Client, Role
from hadesgw.policy.origins import Origins
from hadesgw.policy.tickets import TicketStore
from hadesgw.resources.layer import Layer
from hadesgw.resources.ticket import TicketOffice
from tests.wire.answers import Answer
from tests.wire.door import Door, get, post

ALICE = Client(name="alice", roles=frozenset((Role.USER,)))
PAGE = b"http://localhost:3000"


class Known(Layer):
    """A guard that knows everybody by one name."""

    client: str | None = "alice"

    def render(self, request: Request) -> bytes | int:
        request.record.client = self.client
        request.postpath = request.path.removeprefix(b"/api/ticket").split(b"/")[1:]
        return self.pass_on(request)


class TicketOfficeTests(SynchronousTestCase):
    """Behind a guard that knows alice."""

    def setUp(self) -> None:
        entropy = iter(range(1, 1000))
        self.store = TicketStore(lambda count: next(entropy).to_bytes(count, "big"))
        self.door = Door(origins=Origins([PAGE.decode()]))
        self.known = Known(TicketOffice(self.store, self.door.site.clock, lambda request: lambda: ALICE))
        self.door.site.resource = self.known

    def _ask(self, data: bytes, method: bytes = b"POST") -> Answer:
        return self.door.call().send(data).answer(method)

    def _ticket(self, *fields: bytes) -> str:
        answer = self._ask(post(b"", *fields, target=b"/api/ticket"))
        self.assertEqual((answer.status, answer.one(b"content-type")), (200, b"application/json"))
        said = json.loads(answer.body)
        self.assertEqual((set(said), said["expires_in"]), ({"ticket", "expires_in"}, 30))
        return str(said["ticket"])

    def test_good_for_its_client_and_page(self) -> None:
        """The ticket opens for the client that asked, from the page that asked, once."""
        ticket = self._ticket(b"Origin: " + PAGE)
        now = self.door.reactor.seconds()
        warrant = self.store.redeem(ticket, PAGE, now)
        self.assertEqual(warrant and warrant(), ALICE)
        self.assertIsNone(self.store.redeem(ticket, PAGE, now))
        self.assertIsNone(self.store.redeem(self._ticket(b"Origin: " + PAGE), b"http://localhost", now))

    def test_good_for_a_program(self) -> None:
        """Without an Origin it is good without one."""
        self.assertIsNotNone(self.store.redeem(self._ticket(), None, 0.0))

    def test_good_for_as_long_as_it_says(self) -> None:
        """The time said is the time kept."""
        ticket = self._ticket()
        self.door.reactor.pass_time(30.0)
        self.assertIsNone(self.store.redeem(ticket, None, self.door.reactor.seconds()))

    def test_is_not_kept_on_the_way(self) -> None:
        """No cache may store it, and the body of the request is not looked at."""
        answer = self._ask(post(b"not json", target=b"/api/ticket"))
        self.assertEqual((answer.status, answer.one(b"cache-control")), (200, b"no-store"))

    def test_post_only(self) -> None:
        """A link or an image cannot take one."""
        answer = self._ask(get(b"/api/ticket"), b"GET")
        self.assertEqual((answer.status, answer.one(b"allow"), len(self.store)), (405, b"POST", 0))

    def test_this_path_only(self) -> None:
        """There is nothing below it, not even with a slash at its end."""
        for below in (b"/", b"/alice"):
            self.assertEqual(self._ask(post(target=b"/api/ticket" + below)).status, 404)

    def test_nobody(self) -> None:
        """Where no guard has said who asks, there is none to be had."""
        self.known.client = None
        self.assertEqual((self._ask(post(target=b"/api/ticket")).status, len(self.store)), (404, 0))
