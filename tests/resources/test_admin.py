"""The admin leaf: what an operator sees and does, and who else cannot."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from typing import Any

from twisted.internet.interfaces import ISSLTransport
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import alsoProvides

from hadesgw.http.site import Request
from hadesgw.policy.credentials import Client, ClientDirectory, ClientStore, Role, Token, anonymous_client
from hadesgw.policy.origins import Origins
from hadesgw.resources.admin import Admin
from hadesgw.resources.layer import Layer
from tests.resources.test_penalties import Lines
from tests.wire.answers import Answer
from tests.wire.door import Door, get, post

DIGEST = hashlib.sha256(b"of nobody").digest()
LISTED = b"http://localhost:3000"
JSON = b"Content-Type: application/json"


class Known(Layer):
    """A guard that knows everybody by one name."""

    client: str | None = "root"

    def render(self, request: Request) -> bytes | int:
        request.record.client = self.client
        request.postpath = request.path.split(b"/")[2:]
        return self.pass_on(request)


class AdminTests(SynchronousTestCase):
    """Two clients and the anonymous one."""

    def setUp(self) -> None:
        token = Token(DIGEST, datetime(2027, 1, 1, tzinfo=UTC))
        roles = frozenset((Role.USER, Role.OBSERVER))
        alice = Client(name="alice", roles=roles, tokens=(token,), burst=7, models=("m",))
        root = Client(name="root", roles=frozenset((Role.ADMIN,)), certificate="CN=root")
        self.clients = ClientStore(ClientDirectory([alice, root]), anonymous_client(Role.USER))
        self.lines = Lines()
        self.known = Known(Admin(self.clients, lambda: {"limits": {"burst": 10}}, self.lines))
        self.door = Door(self.known, origins=Origins([LISTED.decode()]))

    def _ask(self, data: bytes, method: bytes = b"GET") -> Answer:
        return self.door.call().send(data).answer(method)

    def _act(self, what: bytes, *fields: bytes) -> Answer:
        return self._ask(post(b"", *(fields or (JSON,)), target=b"/admin/clients/" + what), b"POST")

    def _clients(self) -> Any:
        return json.loads(self._ask(get(b"/admin/clients")).body)

    # -- Seeing --------------------------------------------------------------------------------------------------------

    def test_clients(self) -> None:
        """Everybody is listed, with roles, limits and the ends of tokens, and without anything to come in by."""
        answer = self._ask(get(b"/admin/clients"))
        kept = (answer.one(b"content-type"), answer.one(b"cache-control"))
        self.assertEqual(kept, (b"application/json", b"no-store"))
        self.assertNotIn(DIGEST.hex().encode(), answer.body)
        said = json.loads(answer.body)
        self.assertEqual([client["name"] for client in said["clients"]], ["alice", "root", "anonymous"])
        expected = {
            "name": "alice",
            "roles": ["observer", "user"],
            "suspended": False,
            "tokens": [{"expires": "2027-01-01T00:00:00Z"}],
            "certificate": None,
            "models": ["m"],
            "requests_per_second": None,
            "burst": 7,
            "max_in_flight": None,
            "tokens_per_minute": None,
        }
        self.assertEqual(said["clients"][0], expected)
        self.assertEqual((said["clients"][1]["certificate"], said["suspended"]), ("CN=root", []))

    def test_limits(self) -> None:
        """What is in force is shown as it was given."""
        self.assertEqual(json.loads(self._ask(get(b"/admin/limits")).body), {"limits": {"burst": 10}})

    def test_head(self) -> None:
        """HEAD says what GET would."""
        answer = self._ask(get(b"/admin/limits").replace(b"GET", b"HEAD", 1), b"HEAD")
        self.assertEqual((answer.status, answer.one(b"content-length")), (200, b"23"))

    def test_seeing_leaves_no_trace(self) -> None:
        """Only acts are logged."""
        self._clients()
        self.assertEqual(self.lines.events, [])

    # -- Acting --------------------------------------------------------------------------------------------------------

    def test_suspend_and_resume(self) -> None:
        """A client is put out and let in again, and the log says by whom, in which request."""
        answer = self._act(b"alice/suspend", JSON, b"X-Request-ID: act-1")
        self.assertEqual((answer.status, json.loads(answer.body)), (200, {"name": "alice", "suspended": True}))
        self.assertEqual((self.clients.suspended, self._clients()["clients"][0]["suspended"]), ({"alice"}, True))
        answer = self._act(b"alice/resume", JSON, b"X-Request-ID: act-2")
        self.assertEqual((answer.status, json.loads(answer.body)), (200, {"name": "alice", "suspended": False}))
        self.assertEqual(self.clients.suspended, frozenset())
        facts = {"actor": "root", "client": "alice", "changed": True}
        self.assertEqual(
            self.lines.events,
            [
                ("client_suspended", "warn", {**facts, "request_id": "act-1"}),
                ("client_resumed", "warn", {**facts, "request_id": "act-2"}),
            ],
        )

    def test_twice(self) -> None:
        """Doing it again changes nothing, is no error, and is logged as that."""
        for what in (b"resume", b"suspend", b"suspend"):
            self.assertEqual(self._act(b"alice/" + what).status, 200)
        self.assertEqual([facts["changed"] for _, _, facts in self.lines.events], [False, True, False])

    def test_anonymous(self) -> None:
        """The anonymous client can be put out like any other."""
        self.assertEqual(self._act(b"anonymous/suspend").status, 200)
        self.assertEqual(self.clients.suspended, {"anonymous"})

    def test_gone(self) -> None:
        """A suspended client that has left the file can be resumed, and suspended no more after that."""
        self._act(b"alice/suspend")
        self.clients.replace(ClientDirectory([]))
        self.assertEqual(self._clients()["suspended"], ["alice"])
        acts = (b"suspend", b"resume", b"suspend")
        self.assertEqual([self._act(b"alice/" + what).status for what in acts], [200, 200, 404])
        self.assertEqual(self.clients.suspended, frozenset())

    def test_unknown(self) -> None:
        """A name nobody has is said to be that, and not repeated."""
        for name in (b"mallory", b"Alice", b"%61lice", b"alice%00", b""):
            answer = self._act(name + b"/suspend")
            self.assertEqual(answer.status, 404, name)
            self.assertNotIn(b"mallory", answer.body)
        self.assertEqual((self.lines.events, self.clients.suspended), ([], frozenset()))

    # -- Not like this -------------------------------------------------------------------------------------------------

    def test_methods(self) -> None:
        """What shows does not act, and what acts is never a link."""
        for target, method, allowed in (
            (b"/admin/clients", b"POST", b"GET, HEAD"),
            (b"/admin/limits", b"DELETE", b"GET, HEAD"),
            (b"/admin/clients/alice/suspend", b"GET", b"POST"),
            (b"/admin/clients/alice/resume", b"PUT", b"POST"),
        ):
            head = b"%b %b HTTP/1.1\r\nHost: localhost\r\n%b\r\n\r\n" % (method, target, JSON)
            answer = self._ask(head, method)
            self.assertEqual((answer.status, answer.one(b"allow")), (405, allowed))
        self.assertEqual(self.clients.suspended, frozenset())

    def test_no_such_path(self) -> None:
        """There is nothing beside what is named."""
        for below in (b"", b"/", b"/clients/", b"/clients/alice", b"/clients/alice/delete", b"/limits/burst"):
            self.assertEqual(self._ask(get(b"/admin" + below)).status, 404, below)

    def test_json_only(self) -> None:
        """What a form can send does not act, so that no page can act without the browser's asking us first."""
        for kind in (b"text/plain", b"application/x-www-form-urlencoded", b"application/jsonx", b"text/json", b""):
            self.assertEqual(self._act(b"alice/suspend", b"Content-Type: " + kind).status, 415, kind)
        self.assertEqual(self._act(b"alice/suspend", b"X: y").status, 415)
        for other in (b"Content-Type: text/plain", JSON):
            self.assertEqual(self._act(b"alice/suspend", other, JSON).status, 415, other)
        self.assertEqual(self.clients.suspended, frozenset())
        for kind in (b"application/json", b"Application/JSON; charset=utf-8", b'application/json;charset="UTF-8"'):
            self.assertEqual(self._act(b"alice/suspend", b"Content-Type: " + kind).status, 200, kind)

    def test_own_origin_only(self) -> None:
        """A listed page may use the model, not rule the gateway; our own may, on the scheme it came by."""
        for ask in (get(b"/admin/clients", b"Origin: " + LISTED), get(b"/admin/limits", b"Origin: " + LISTED)):
            answer = self._ask(ask)
            self.assertEqual((answer.status, answer.one(b"connection")), (403, b"close"))
        self.assertEqual(self._act(b"alice/suspend", JSON, b"Origin: " + LISTED).status, 403)
        self.assertEqual((self.lines.events, self.clients.suspended), ([], frozenset()))
        self.assertEqual(self._act(b"alice/suspend", JSON, b"Origin: http://localhost").status, 200)
        caller = self.door.call()
        alsoProvides(caller.transport, ISSLTransport)
        caller.send(get(b"/admin/limits", b"Origin: https://localhost"))
        self.assertEqual(caller.answer().status, 200)

    def test_nobody(self) -> None:
        """Where no guard has said who asks, there is nothing."""
        self.known.client = None
        self.assertEqual(self._ask(get(b"/admin/clients")).status, 404)
