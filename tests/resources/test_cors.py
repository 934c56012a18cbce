"""The cors layer: which pages may read which answers."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

from twisted.trial.unittest import SynchronousTestCase

from hadesgw.http.site import Request
from hadesgw.policy import refusals
from hadesgw.policy.origins import Origins
from hadesgw.resources.cors import Cors
from tests.wire.answers import Answer
from tests.wire.door import Door, Leaf, echo, get, hold, post

LISTED = (b"http://localhost:3000", b"https://app.example")
IDS = (b"X-Request-ID", b"X-Conveyance-Session-ID")


def words(value: bytes) -> set[bytes]:
    """The items of a list field, in lower case."""
    return {word.strip().lower() for word in value.split(b",")}


class CorsTests(SynchronousTestCase):
    """A layer with two listed origins around a leaf."""

    def _door(self, act: Callable[[Request], bytes | int] = lambda request: b"answer") -> Door:
        origins = Origins([origin.decode() for origin in LISTED])
        self.leaf = Leaf(act)
        return Door(Cors(self.leaf, origins, [name.decode() for name in IDS]), origins=origins)

    def _ask(self, door: Door, data: bytes, method: bytes = b"GET") -> Answer:
        return door.call().send(data).answer(method)

    def _preflight(self, *fields: bytes, origin: bytes = LISTED[0]) -> Answer:
        lines = [b"OPTIONS /v1/x HTTP/1.1", b"Host: localhost:8082", b"Origin: " + origin, *fields, b"", b""]
        return self._ask(self._door(), b"\r\n".join(lines), b"OPTIONS")

    def _readable(self, answer: Answer, origin: bytes) -> None:
        """The page of `origin` may read `answer`, all of it that clients need, and no other page may."""
        self.assertEqual(answer.one(b"access-control-allow-origin"), origin)
        self.assertIn(b"origin", words(answer.one(b"vary") or b""))
        self.assertEqual(answer.all(b"access-control-allow-credentials"), [])
        exposed = words(answer.one(b"access-control-expose-headers") or b"")
        ids = {name.lower() for name in IDS}
        kinds = product((b"limit", b"remaining", b"reset"), (b"requests", b"tokens"))
        rates = {b"x-ratelimit-%b-%b" % kind for kind in kinds}
        self.assertEqual(exposed, ids | rates | {b"retry-after", b"x-hades-token-budget"})

    def test_preflight(self) -> None:
        """Each listed origin hears, without a credential, what its page may send; nobody within is asked."""
        for origin in LISTED:
            answer = self._preflight(
                b"Access-Control-Request-Method: POST", b"Access-Control-Request-Headers: authorization", origin=origin
            )
            self.assertEqual((answer.status, answer.body, self.leaf.asked), (204, b"", []))
            self.assertEqual(answer.one(b"access-control-allow-origin"), origin)
            self.assertEqual(answer.all(b"vary"), [b"Origin"])
            self.assertEqual(answer.all(b"access-control-allow-credentials") + answer.all(b"content-length"), [])
            self.assertIn(b"post", words(answer.one(b"access-control-allow-methods") or b""))
            self.assertGreater(int(answer.one(b"access-control-max-age") or 0), 0)
            self.assertEqual(answer.all(b"access-control-allow-private-network"), [])
            self.assertTrue(answer.one(b"x-request-id"))

    def test_fields_of_clients(self) -> None:
        """What browsers' clients send is accepted: tokens, ids, versions, and whatever the SDKs add to their family."""
        sdk = b"X-Stainless-Lang, x-stainless-retry-count,x-stainless-a-new-one"
        answer = self._preflight(
            b"Access-Control-Request-Method: POST", b"Access-Control-Request-Headers: content-type," + sdk
        )
        accepted = words(answer.one(b"access-control-allow-headers") or b"")
        needed = {b"authorization", b"content-type", b"x-api-key", b"anthropic-version", b"last-event-id"}
        self.assertLessEqual(needed | {name.lower() for name in IDS} | words(sdk), accepted)
        self.assertNotIn(b"*", accepted)

    def test_fields_of_others(self) -> None:
        """A field of nobody's is not accepted, and nothing that is asked for gets into the answer as it is."""
        asked = b"x-evil, x-stainless-, x-stainless-a b, cookie, x-stainless-" + b"a" * 100
        answer = self._preflight(b"Access-Control-Request-Method: POST", b"Access-Control-Request-Headers: " + asked)
        accepted = answer.one(b"access-control-allow-headers") or b""
        self.assertEqual(words(asked) & words(accepted), set())
        self.assertNotIn(b"stainless", accepted)

    def test_private_network(self) -> None:
        """A page of a public site that asks for a private network is allowed it, if it is listed."""
        for asked, said in ((b"true", [b"true"]), (b"false", [])):
            answer = self._preflight(
                b"Access-Control-Request-Method: GET", b"Access-Control-Request-Private-Network: " + asked
            )
            self.assertEqual(answer.all(b"access-control-allow-private-network"), said)

    def test_not_a_preflight(self) -> None:
        """An OPTIONS that asks for no method is for whoever is within; so is one of no listed origin."""
        method = b"Access-Control-Request-Method: POST"
        for fields in ((b"Origin: " + LISTED[0],), (method,), (b"Origin: http://localhost", method)):
            data = get(b"/", *fields).replace(b"GET", b"OPTIONS", 1)
            self.assertEqual(self._ask(self._door(), data, b"OPTIONS").body, b"answer")

    def test_answers(self) -> None:
        """What is answered to a listed origin its page may read."""
        for origin in LISTED:
            answer = self._ask(self._door(), get(b"/", b"Origin: " + origin))
            self.assertEqual(answer.body, b"answer")
            self._readable(answer, origin)

    def test_refusals(self) -> None:
        """A page may read why it was refused, wherever within that was, and when to come again."""
        cases = (
            refusals.NO_CREDENTIAL,
            refusals.RATE_LIMITED,
            refusals.NOT_FOUND,
            refusals.UPSTREAM_MISSING,
            refusals.UPSTREAM_SILENT,
        )
        for refusal in cases:
            door = self._door(lambda request, refusal=refusal: request.refuse(refusal))  # type: ignore[misc]
            answer = self._ask(door, get(b"/", b"Origin: " + LISTED[1]))
            self.assertEqual(answer.status, refusal.status)
            self._readable(answer, LISTED[1])

    def test_faults(self) -> None:
        """So it may where the layers never came to answer: a defect, a broken body, the gateway's end."""

        def fail(request: Request) -> bytes:
            raise ZeroDivisionError

        origin = b"Origin: " + LISTED[0]
        self._readable(self._ask(self._door(fail), get(b"/", origin)), LISTED[0])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        broken = post(b"", origin, b"Transfer-Encoding: chunked").replace(b"Content-Length: 0\r\n", b"") + b"x\r\n"
        answer = self._ask(self._door(echo()), broken, b"POST")
        self.assertEqual(answer.status, 400)
        self._readable(answer, LISTED[0])
        door = self._door(hold)
        caller = door.call().send(get(b"/", origin))
        door.site.interrupt(refusals.STREAM_DRAINED)
        self._readable(caller.answer(b"GET"), LISTED[0])

    def test_relayed(self) -> None:
        """A relayed answer keeps what it varies by, and what it claims about origins is not believed."""

        def relay(request: Request) -> bytes:
            request.relayed = [
                (b"vary", b"Accept-Encoding"),
                (b"access-control-allow-origin", b"*"),
                (b"access-control-expose-headers", b"*"),
            ]
            return b"relayed"

        answer = self._ask(self._door(relay), get(b"/", b"Origin: " + LISTED[0]))
        self.assertEqual(answer.all(b"vary"), [b"Accept-Encoding", b"Origin"])
        self.assertEqual(answer.one(b"access-control-allow-origin"), LISTED[0])
        self.assertNotEqual(answer.one(b"access-control-expose-headers"), b"*")

    def test_programs_and_our_own_page(self) -> None:
        """Neither needs leave to read: only that the answer varies is said, for a cache's sake."""
        for fields in ((), (b"Origin: http://localhost",)):
            answer = self._ask(self._door(), get(b"/", *fields))
            self.assertEqual((answer.status, answer.all(b"vary")), (200, [b"Origin"]))
            self.assertEqual([name for name, _ in answer.fields if name.startswith(b"access-control-")], [])

    def test_strangers(self) -> None:
        """To a stranger nothing is said, preflight or not."""
        for method in (b"GET", b"OPTIONS"):
            head = b"%b / HTTP/1.1\r\nHost: localhost\r\nOrigin: http://evil.example\r\n" % method
            answer = self._ask(self._door(), head + b"Access-Control-Request-Method: GET\r\n\r\n", method)
            self.assertEqual((answer.status, self.leaf.asked), (403, []))
            self.assertEqual([name for name, _ in answer.fields if name.startswith(b"access-control-")], [])
