"""The origin rule on the wire: a stranger's page is refused before anybody is asked, whatever it asks for."""

from __future__ import annotations

from twisted.internet.interfaces import ISSLTransport
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import alsoProvides

from hadesgw.policy.origins import Origins
from tests.policy.test_origins import LISTED, STRANGERS
from tests.wire.answers import Answer
from tests.wire.door import Caller, Door, get, post

OWN = b"http://localhost:8082"
HANDSHAKE = (
    b"Connection: Upgrade",
    b"Upgrade: websocket",
    b"Sec-WebSocket-Version: 13",
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
)


class OriginTests(SynchronousTestCase):
    """One door, one listed origin."""

    def setUp(self) -> None:
        self.door = Door(origins=Origins([LISTED.decode()]))

    def _ask(self, data: bytes, *, secure: bool = False) -> Caller:
        caller = self.door.call()
        if secure:
            alsoProvides(caller.transport, ISSLTransport)
        return caller.send(data)

    def _refused(self, caller: Caller, method: bytes = b"GET") -> Answer:
        answer = caller.answer(method)
        self.assertEqual((answer.status, answer.one(b"connection")), (403, b"close"))
        self.assertEqual([name for name, _ in answer.fields if name.startswith(b"access-control-")], [])
        self.assertEqual(answer.all(b"vary"), [b"Origin"])
        self.assertTrue(answer.one(b"x-request-id") and answer.one(b"x-conveyance-session-id"))
        self.assertTrue(caller.ended)
        self.assertEqual(self.door.asked, [])
        self.assertEqual(self.door.notes.refused.pop()[0], "foreign_origin")
        return answer

    def test_strangers(self) -> None:
        """Each origin that is neither listed nor our own is refused, `null` too, and hears no word of CORS."""
        for stranger in STRANGERS:
            if stranger.strip() != LISTED:  # what a parser trims is not there
                answer = self._refused(self._ask(get(b"/v1/x", b"Origin: " + stranger, host=b"localhost:8082")))
                self.assertIn(b'"code":"origin_not_allowed"', answer.body)
                self.assertNotIn(b"evil", answer.body)

    def test_every_method_and_path(self) -> None:
        """No method is safe enough and no path open enough: what is not there at all is refused in the same way."""
        for method in (b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS"):
            for path in (b"/healthz", b"/v1/chat/completions", b"/ws/codex", b"/nowhere"):
                head = b"%b %b HTTP/1.1\r\nHost: localhost:8082\r\nOrigin: http://evil.example\r\n\r\n" % (method, path)
                self._refused(self._ask(head), method)

    def test_websocket(self) -> None:
        """A handshake is a GET that acts: a stranger's is refused (cross-site WebSocket hijacking)."""
        self._refused(self._ask(get(b"/ws/codex", b"Origin: http://evil.example", *HANDSHAKE)))

    def test_preflight(self) -> None:
        """A stranger's preflight is refused like anything else, so its browser does not send what it wanted to."""
        fields = (b"Origin: http://evil.example", b"Access-Control-Request-Method: POST")
        head = b"\r\n".join([b"OPTIONS /v1/x HTTP/1.1", b"Host: localhost", *fields, b"", b""])
        self._refused(self._ask(head), b"OPTIONS")

    def test_before_the_body(self) -> None:
        """Its upload is not asked for, and no further request of its connection is looked at."""
        fields = (b"Origin: http://evil.example", b"Expect: 100-continue")
        caller = self._ask(post(b"", *fields, length=9999))
        self.assertNotIn(b"100 Continue", caller.received)
        self._refused(caller, b"POST")
        self._refused(self._ask(get(b"/", b"Origin: http://evil.example") + get(b"/")))

    def test_several_fields(self) -> None:
        """Two Origin fields are refused, in whichever order, and even if they agree."""
        for fields in ((LISTED, LISTED), (LISTED, b"http://evil.example"), (b"null", LISTED)):
            self._refused(self._ask(get(b"/", *(b"Origin: " + field for field in fields))))

    def test_programs(self) -> None:
        """Without an Origin nothing is asked."""
        self.assertEqual(self._ask(post(b"{}")).answer(b"POST").status, 200)

    def test_listed(self) -> None:
        """A listed origin may call, on any name we have."""
        for host in (b"localhost:8082", b"127.0.0.1:9000"):
            self.assertEqual(self._ask(get(b"/", b"Origin: " + LISTED, host=host)).answer(b"GET").status, 200)

    def test_our_own(self) -> None:
        """The page's own origin is the connection's scheme and the Host it was called by, tunnel or not."""
        for host in (b"localhost:8082", b"LOCALHOST:8082", b"127.0.0.1:90", b"[::1]:1", b"localhost", b"localhost:80"):
            origin = b"http://" + host.lower().removesuffix(b":80")
            self.assertEqual(self._ask(get(b"/", b"Origin: " + origin, host=host)).answer(b"GET").status, 200, host)

    def test_another_name_of_ours(self) -> None:
        """A page of another name or port of this machine is another site's."""
        for origin in (
            b"http://127.0.0.1:8082",
            b"http://localhost",
            b"http://localhost:8083",
            b"https://localhost:8082",
        ):
            self._refused(self._ask(get(b"/", b"Origin: " + origin, host=b"localhost:8082")))

    def test_tls(self) -> None:
        """On TLS our own scheme is https, and only that."""
        own = self._ask(get(b"/", b"Origin: https://localhost:8443", host=b"localhost:8443"), secure=True)
        self.assertEqual(own.answer(b"GET").status, 200)
        self.door.asked.clear()
        self._refused(self._ask(get(b"/", b"Origin: http://localhost:8443", host=b"localhost:8443"), secure=True))

    def test_forwarding_claims(self) -> None:
        """What a field says about scheme or host is not believed."""
        claims = (b"X-Forwarded-Proto: https", b"X-Forwarded-Host: evil.org", b"Forwarded: proto=https;host=evil.org")
        for origin in (b"https://localhost:8082", b"https://evil.org", b"http://evil.org"):
            self._refused(self._ask(get(b"/", b"Origin: " + origin, *claims, host=b"localhost:8082")))

    def test_rebinding(self) -> None:
        """A page whose own name was made to resolve to us is told by its Host, with which its Origin would agree."""
        caller = self._ask(get(b"/", b"Origin: http://evil.example:8082", host=b"evil.example:8082"))
        self.assertEqual(caller.answer(b"GET").status, 421)
        self.assertEqual(self.door.notes.refused.pop()[0], "misdirected")

    def test_no_host(self) -> None:
        """An HTTP/1.0 request that names no host has no origin of its own."""
        self._refused(self._ask(b"GET / HTTP/1.0\r\nOrigin: http://localhost\r\n\r\n"))
        self.assertEqual(self._ask(b"GET / HTTP/1.0\r\nOrigin: %b\r\n\r\n" % LISTED).answer(b"GET").status, 200)
