"""Holes that others had, and what shows that we do not have them.

Each row names advisories, the rule we took from them, and the tests that hold us to it, or the issue that will bring
them. A row without either fails, and so does a test here that no row names.
"""

from __future__ import annotations

import ast
import json
import tomllib
from importlib import import_module
from typing import NamedTuple

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.iweb import IBodyProducer
from zope.interface import implementer

from hadesgw.config import load
from hadesgw.http.client import Answer
from hadesgw.http.framing import upstream_fields
from hadesgw.http.site import Request
from hadesgw.interfaces import IUpstream
from hadesgw.policy.credentials import Client, Role
from hadesgw.resources.proxy import ROUTES, Proxy
from tests.http.model_server import ModelServer, ProxyNotes, make_agent
from tests.test_layers import imports
from tests.wire.door import Door, answer_with, echo, get, hold, post, post_chunked
from tools.pure import PROJECT

HERE = "tests.test_advisories.AdvisoryTests"
CREDENTIALS = "tests.policy.test_credentials"
REFUSED = "tests.wire.test_refused"


class Row(NamedTuple):
    """One lesson.

    :ivar sources: whose hole it was, and its names.
    :ivar rule: what we do.
    :ivar shown_by: dotted names of tests.
    :ivar waits_for: the issues that bring tests still missing.
    """

    sources: str
    rule: str
    shown_by: tuple[str, ...] = ()
    waits_for: tuple[int, ...] = ()


ADVISORIES = (
    Row(
        "Twisted CVE-2019-12387: line breaks in method and URI reached the server",
        "only tokens and checked targets pass, and upstream gets the route, not the client's spelling of it",
        (f"{HERE}.test_adv_twisted_cve_2019_12387",),
    ),
    Row(
        "Twisted CVE-2020-10108, CVE-2020-10109, CVE-2022-24801: two lengths, odd lengths, odd chunks",
        "the list of framings that are refused is tested, whatever parser is below",
        (f"{HERE}.test_adv_twisted_cve_2020_10108", f"{REFUSED}.RefusedTests.test_lengths_codings_and_chunks"),
    ),
    Row(
        "Twisted CVE-2022-21712: credentials followed a redirect to another origin",
        "upstream redirects are answers like any other and never followed",
        (f"{HERE}.test_adv_twisted_cve_2022_21712",),
    ),
    Row(
        "Twisted CVE-2022-39348, CVE-2024-41810: Host and redirect target echoed as HTML",
        "refusals are JSON and repeat nothing of the request",
        (f"{HERE}.test_adv_twisted_cve_2022_39348",),
    ),
    Row(
        "Twisted CVE-2023-46137, CVE-2024-41671: pipelined answers out of order",
        "one request of a connection is in flight, the others have not begun",
        (f"{HERE}.test_adv_twisted_cve_2023_46137", "tests.http.test_channel.PipeliningTests"),
    ),
    Row(
        "Twisted #12754: bare CR and LF in a field's value",
        "a line ends with CRLF or is refused",
        (f"{HERE}.test_adv_twisted_12754", f"{REFUSED}.RefusedTests.test_lines_fields_and_targets"),
    ),
    Row(
        "Twisted #12705, CVE-2019-9512, CVE-2019-9514, CVE-2019-9515: floods of HTTP/2",
        "HTTP/1.1 only: not offered by TLS, not taken up by upgrade, its preface refused",
        (f"{HERE}.test_adv_twisted_12705",),
    ),
    Row(
        "Twisted CVE-2026-42304: compressed DNS names hang the reactor",
        "no DNS at run time",
        (f"{HERE}.test_adv_twisted_cve_2026_42304",),
    ),
    Row(
        "LiteLLM CVE-2026-49468, Starlette CVE-2026-48710: a Host that changed the path, and so skipped the guard",
        "Host is a name and a port, the path is the target's alone",
        (f"{HERE}.test_adv_litellm_cve_2026_49468", f"{REFUSED}.RefusedTests.test_hosts"),
    ),
    Row(
        "LiteLLM CVE-2026-59822: a failed check of a key fell back to an empty identity",
        "a client cannot be made empty, and what goes wrong is a denial",
        (f"{HERE}.test_adv_litellm_cve_2026_59822", f"{CREDENTIALS}.StoreTests", f"{CREDENTIALS}.DirectoryTests"),
    ),
    Row(
        "LiteLLM CVE-2026-35030: cached identities collided between tokens",
        "tokens are found by their whole SHA-256",
        (f"{CREDENTIALS}.DirectoryTests.test_a_digest_that_differs_in_one_bit_is_unknown",),
    ),
    Row(
        "LiteLLM GHSA-r75f-5x8p-qvmc, GHSA-xqmj-j6mv-4862, GHSA-v4p8-mg3p-g94g, CVE-2026-12795: SQL, templates,"
        " commands from requests, administration without a credential",
        "no database, no templates, no command from a request; administration is off unless it is configured",
        (f"{HERE}.test_adv_litellm_ghsa_r75f_5x8p_qvmc",),
        (7,),
    ),
    Row(
        "vLLM CVE-2025-48956: heads without bound",
        "bytes, fields and target are bounded, and the time they may take",
        (f"{HERE}.test_adv_vllm_cve_2025_48956", "tests.http.test_channel.HeadTests"),
    ),
    Row(
        "vLLM CVE-2025-59425: the key was compared with ==",
        "digests are looked up and compared in constant time",
        (f"{HERE}.test_adv_vllm_cve_2025_59425",),
        (4,),
    ),
    Row(
        "vLLM CVE-2025-6242: media URLs fetched for anybody",
        "refused unless they are allowed",
        ("tests.policy.test_conversation.MediaTests.test_no_address_passes",),
    ),
    Row(
        "vLLM #58144, #42591, CVE-2026-22778: a key that covered prefixes only, execution by /invocations",
        "exact routes, on the bytes that came; what is not listed is not there",
        (f"{HERE}.test_adv_vllm_58144",),
    ),
    Row(
        "vLLM CVE-2026-44223: penalties crashed the engine",
        "fields can be refused by configuration",
        ("tests.policy.test_request_body.FieldTests.test_refused_fields",),
    ),
    Row(
        "vLLM CVE-2025-46570: timing of shared prefixes; CVE-2025-62164: prompts as tensors",
        "no client sets the salt, or hands in a tensor",
        ("tests.policy.test_request_body.FieldTests.test_what_is_refused_by_default",),
    ),
    Row(
        "oauth2-proxy CVE-2025-64484, CVE-2026-40575, #3506, GHSA-5hvv-m4w4-gf6v, GHSA-pxq7-h93f-9jrg: twins with"
        " underscores, forged X-Forwarded-Uri, health checks told by User-Agent, fragments",
        "nothing is decided by what a client claims, and only listed fields pass",
        (f"{HERE}.test_adv_oauth2_proxy_cve_2025_64484",),
    ),
    Row("Jupyter CVE-2026-86049: tokens of the Referer in the log", "no field's value is logged", (), (4,)),
    Row("Jupyter CVE-2026-44727: stored HTML shown on the API's origin", "what a model says is text", (), (6,)),
    Row(
        "code-server 4.5.2, proxy-addr CVE-2026-90711: a check nobody waited for, forwarded addresses believed",
        "every route is called without a credential; no address is read from a field",
        (f"{HERE}.test_adv_proxy_addr_cve_2026_90711",),
        (4,),
    ),
    Row("Open WebUI CVE-2025-64496: events of a hostile model server ran in the page", "events are data", (), (6,)),
    Row(
        "MCP CVE-2025-66414, GHSA-9h52-p55h-vw2f, GHSA-xw59-hvm2-8pj6, GHSA-8jxr-pr72-r468: local servers open to"
        " DNS rebinding",
        "Host must be ours, from the first start on",
        (f"{HERE}.test_adv_mcp_cve_2025_66414", f"{REFUSED}.RefusedTests.test_hosts"),
        (4,),
    ),
    Row(
        "pi-agent-dashboard #625: a page of another site opened a shell by WebSocket",
        "Origin must be ours, or one that is listed",
        (
            "tests.resources.test_codex_socket.HandshakeTests.test_origins",
            "tests.resources.test_codex_http.FaultTests.test_strange_pages",
            "tests.resources.test_codex_http.FaultTests.test_kinds_of_body",
        ),
    ),
    Row(
        "Claude Code CVE-2026-55607, codex #44191: files of a repository steer the agent",
        "a workspace configures nothing",
        (),
        (7,),
    ),
    Row("codex app-server: an open WebSocket off loopback", "it is spoken to over its standard streams", (), (7,)),
)


@implementer(IUpstream)
class Nobody:
    """A model server that notes what it is asked, and never answers."""

    name = "nobody"

    def __init__(self) -> None:
        self.asked: list[tuple[bytes, list[tuple[bytes, bytes]]]] = []

    def ask(
        self,
        method: bytes,
        target: bytes,
        fields: list[tuple[bytes, bytes]],
        body: IBodyProducer | None,
        may_resend: object,
    ) -> Deferred[Answer]:
        self.asked.append((target, fields))
        return Deferred()

    def send(
        self,
        method: bytes,
        target: bytes,
        fields: list[tuple[bytes, bytes]],
        body: IBodyProducer | None,
        may_resend: object,
        asker: object,
    ) -> Deferred[Answer]:
        return self.ask(method, target, fields, body, may_resend)  # it can be cancelled, which is all that matters


class NoModels:
    """A list of models nobody asks for."""

    def render(self, request: Request) -> int:
        raise AssertionError("nobody asked for it")


class AdvisoryTests(SynchronousTestCase):
    """One test for each lesson that the server's side has learnt."""

    def setUp(self) -> None:
        self.upstream = Nobody()
        proxy = Proxy(self.upstream, NoModels(), lambda route: 1000, 60, ProxyNotes())  # type: ignore[arg-type]
        self.door = Door(proxy.render)

    def test_adv_twisted_cve_2019_12387(self) -> None:
        """No byte that could end a line, or be another's request, goes upstream in a target or a field."""
        for byte in (bytes([number]) for number in (*range(0x21), 0x7F, 0x80, 0xFF)):
            for request in (
                post(b"{}", target=b"/v1/completions" + byte + b"x"),
                post(b"{}", target=b"/v1/completions?a=" + byte + b"x"),
                post(b"{}", b"User-Agent: a" + byte + b"b", target=b"/v1/completions"),
                post(b"{}", target=b"/v1/completions").replace(b"POST", b"PO" + byte + b"ST"),
            ):
                self.door.call().send(request)
        for target, fields in self.upstream.asked:
            self.assertEqual(target, b"/v1/completions")
            for name, value in fields:
                self.assertNotRegex(name + value, rb"[\x00-\x08\x0a-\x1f\x7f]")

    def test_adv_twisted_cve_2020_10108(self) -> None:
        """Two lengths, a length and chunks, signs, prefixes, extensions with line breaks: none is served."""
        for request in (
            post(b"hello", b"Content-Length: 0"),
            post(b"hello", b"Content-Length: 5"),
            post_chunked(b"hello", fields=[b"Content-Length: 5"]),
            post(b"hello").replace(b": 5", b": +5"),
            post(b"hello").replace(b": 5", b": 0x5"),
            post_chunked(end=b"0x5\r\nhello\r\n0\r\n\r\n"),
            post_chunked(end=b"+5\r\nhello\r\n0\r\n\r\n"),
            post_chunked(end=b"5;\n\r\nhello\r\n0\r\n\r\n"),
        ):
            door = Door(echo())
            caller = door.call().send(request + get(b"/smuggled"))
            self.assertEqual(caller.answer().status, 400, request)
            self.assertTrue(caller.ended)

    def test_adv_twisted_cve_2022_21712(self) -> None:
        """A redirect of the model server's goes to the client, and nothing more is asked of anybody."""
        server = ModelServer(self.door.reactor)
        agent = make_agent(self.door.reactor, server)
        asked = agent.ask(b"GET", b"/v1/models", [(b"authorization", b"Bearer secret")], None, lambda: True)
        server.say(b"HTTP/1.1 302 Found\r\nlocation: http://evil.example/\r\ncontent-length: 0\r\n\r\n")
        answer = self.successResultOf(asked)
        self.assertEqual((answer.code, dict(answer.fields)[b"location"]), (302, b"http://evil.example/"))
        self.assertEqual(len(server.lines), 1)

    def test_adv_twisted_cve_2022_39348(self) -> None:
        """Host, target, method, field and body with markup: the answer is JSON and has none of it."""
        mark = b"<script>alert(1)</script>"
        for request in (
            get(host=mark),
            get(host=b"a" + mark),
            get(b"/" + mark),
            get(b"/%3Cscript%3Ealert(1)"),
            get(b"/", b"Expect: " + mark, b"Content-Length: 1"),
            get(b"/", mark + b": a"),
            get().replace(b"GET", mark),
            post(mark, b"Content-Encoding: " + mark),
        ):
            answer = self.door.call().send(request).answer()
            self.assertGreaterEqual(answer.status, 400)
            self.assertEqual(answer.one(b"Content-Type"), b"application/json")
            self.assertIn("message", json.loads(answer.body)["error"])
            for word in (b"script", b"alert", b"<"):
                self.assertNotIn(word, answer.body)
                self.assertNotIn(word, b"".join(value for _, value in answer.fields))

    def test_adv_twisted_cve_2023_46137(self) -> None:
        """A slow first answer comes first, however quick the second would be."""
        door = Door(hold)
        caller = door.call().send(get(b"/slow") + get(b"/quick"))
        self.assertEqual([request.path for request in door.asked], [b"/slow"])
        answer_with(b"slow", door.asked[0])
        answer_with(b"quick", door.asked[1])
        self.assertEqual([answer.body for answer in caller.answers()], [b"slow", b"quick"])

    def test_adv_twisted_12754(self) -> None:
        """A field that smuggles another behind half a line break is refused."""
        for between in (b"\r", b"\n", b"\n\r", b"\r\r\n", b"\0", b"\x0b", b"\x0c", b"\x85\n"):
            for step in (None, 1):
                caller = Door(hold).call().send(get(b"/", b"A: b" + between + b"X-Admin: yes"), step)
                self.assertEqual(caller.answer().status, 400, between)

    def test_adv_twisted_12705(self) -> None:
        """Whoever wants HTTP/2 gets HTTP/1.1, or nothing."""
        self.assertEqual(self.door.site.acceptableProtocols(), [b"http/1.1"])
        preface = self.door.call().send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        self.assertEqual((preface.answer().status, preface.ended), (505, True))
        fields = (b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABk")
        self.assertEqual(Door(echo()).call().send(get(b"/", *fields)).answer().status, 200)

    def test_adv_twisted_cve_2026_42304(self) -> None:
        """Nothing of ours imports Twisted's DNS."""
        for path in (PROJECT / "hadesgw").rglob("*.py"):
            names = {found.name for found in imports(ast.parse(path.read_text()))}
            self.assertEqual({name for name in names if name.startswith("twisted.names")}, set(), path)

    def test_adv_litellm_cve_2026_49468(self) -> None:
        """A Host with a path, a query, a fragment or a user never reaches a resource; a good one changes no path."""
        door = Door(hold)
        for host in (b"x/#@y", b"localhost/v1/models?", b"localhost#", b"a@localhost", b"localhost?/healthz"):
            self.assertEqual(door.call().send(get(b"/admin", host=host)).answer().status, 400, host)
        self.assertEqual(door.asked, [])
        door.call().send(get(b"//localhost/healthz"))
        self.assertEqual(door.asked[0].path, b"//localhost/healthz")

    def test_adv_litellm_cve_2026_59822(self) -> None:
        """There is no client without a name or a role to fall back to."""
        self.assertRaises(ValueError, Client, name="", roles=frozenset((Role.USER,)))
        self.assertRaises(ValueError, Client, name="a", roles=frozenset())

    def test_adv_litellm_ghsa_r75f_5x8p_qvmc(self) -> None:
        """We depend on no database and no template engine, and the built-in tree has no administration."""
        document = tomllib.loads((PROJECT / "pyproject.toml").read_text())
        asked_for = " ".join(document["project"]["dependencies"]).lower()
        for word in ("sql", "jinja", "mako", "orm", "alchemy"):
            self.assertNotIn(word, asked_for)
        self.assertEqual([path for path in load(None).tree if path.startswith("/admin")], [])

    def test_adv_vllm_cve_2025_48956(self) -> None:
        """A head without end is refused at its bound, and a slow one at its time."""
        endless = Door(hold).call().send(b"GET / HTTP/1.1\r\n")
        for _ in range(100):
            endless.send(b"X-Filling: " + b"a" * 1000 + b"\r\n")
        self.assertEqual((endless.answer().status, endless.ended), (431, True))
        door = Door(hold)
        slow = door.call()
        for byte in b"GET / HTTP/1.1":
            slow.send(bytes([byte]))
            door.reactor.pass_time(3)
        self.assertEqual((slow.answer().status, slow.closed), (408, "reset"))

    def test_adv_vllm_cve_2025_59425(self) -> None:
        """No comparison of secrets by ==: the module that knows digests compares them by `hmac.compare_digest` only."""
        tree = ast.parse((PROJECT / "hadesgw/policy/credentials.py").read_text())
        compared = [ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Compare)]
        self.assertEqual([text for text in compared if "sha256" in text and "len(" not in text], [])
        self.assertIn("hmac.compare_digest", ast.unparse(tree))

    def test_adv_vllm_58144(self) -> None:
        """Of all the ways to spell something near a route, only the route itself is asked of the model server."""
        for target in (
            *(b"/invocations", b"/pause", b"/tokenize", b"/v1/load_lora_adapter", b"/metrics", b"/v1", b"/", b"/v1/"),
            *(b"/v1/completions/", b"/v1/completions/x", b"//v1/completions", b"/v1//completions", b"/V1/completions"),
            *(
                b"/v1/completions;x",
                b"/v1/%63ompletions",
                b"/v1%2fcompletions",
                b"/v1/./completions",
                b"/v1/completions%00",
            ),
            *(
                b"/v1/x/../completions",
                b"/v1/completions/../../invocations",
                b"/v1/completions%2f..%2f..%2finvocations",
            ),
        ):
            self.assertEqual(self.door.call().send(post(b"{}", target=target)).answer().status, 404, target)
        self.assertEqual(self.upstream.asked, [])
        for route in ROUTES:
            self.door.call().send(post(b"{}", target=route))
        self.assertEqual({target for target, _ in self.upstream.asked}, ROUTES)
        for route in ROUTES:
            self.assertEqual(self.door.call().send(get(route)).answer().status, 405, route)

    def test_adv_oauth2_proxy_cve_2025_64484(self) -> None:
        """Claims in fields go nowhere and change nothing, however they are spelled; a fragment is refused."""
        claims = (b"X-Forwarded-Uri: /healthz", b"X_Forwarded_Uri: /healthz", b"X-Original-URL: /healthz")
        others = (b"X-Forwarded-For: 127.0.0.1", b"X_User: admin", b"Content_Length: 0", b"User-Agent: GoogleHC/1.0")
        self.door.call().send(post(b"{}", *claims, *others, target=b"/v1/completions"))
        ((target, fields),) = self.upstream.asked
        self.assertEqual(target, b"/v1/completions")
        names = {name.lower() for name, _ in fields}
        self.assertEqual(names, {b"host", b"x-request-id", b"x-conveyance-session-id", b"user-agent"})
        self.assertEqual(self.door.call().send(post(b"{}", target=b"/v1/completions#/healthz")).answer().status, 400)

    def test_adv_proxy_addr_cve_2026_90711(self) -> None:
        """Where a client calls from is what the connection says."""
        door = Door(hold)
        door.call().send(get(b"/", b"X-Forwarded-For: 10.0.0.1", b"Forwarded: for=10.0.0.1", b"X-Real-IP: 10.0.0.1"))
        self.assertEqual(door.asked[0].getClientAddress().host, "127.0.0.1")
        self.assertEqual(upstream_fields(door.asked[0].head.fields), [])

    def test_adv_mcp_cve_2025_66414(self) -> None:
        """A page that made its own name resolve to us is told that it has the wrong server, before anything else."""
        for host in (b"evil.example", b"evil.example:8082", b"localhost.evil.example", b"127.0.0.1.nip.io"):
            for step in (None, 1):
                door = Door(hold)
                caller = door.call().send(post(b"{}", b"Origin: http://" + host).replace(b"localhost", host), step)
                self.assertEqual((caller.answer().status, door.asked), (421, []))


class TableTests(SynchronousTestCase):
    """The table is complete, and true."""

    def test_every_row_has_its_tests_or_waits(self) -> None:
        """What it names is there: a test, or a class of tests."""
        for row in ADVISORIES:
            self.assertTrue(row.shown_by or row.waits_for, row.sources)
            self.assertTrue(all(2 <= issue <= 9 for issue in row.waits_for), row.sources)
            for name in row.shown_by:
                self.assertTrue(self.exists(name), f"{row.sources}: there is no {name}")

    def test_every_test_has_its_row(self) -> None:
        """None of this file is about nothing."""
        named = {name for row in ADVISORIES for name in row.shown_by}
        here = {f"{HERE}.{name}" for name in dir(AdvisoryTests) if name.startswith("test_adv_")}
        self.assertEqual(here - named, set())

    def exists(self, name: str) -> bool:
        """Whether there is a test, or a class of tests, of that dotted name."""
        parts = name.split(".")
        at = next(number for number, part in enumerate(parts) if part[0].isupper())
        found: object = import_module(".".join(parts[:at]))
        for part in parts[at:]:
            found = getattr(found, part, None)
        return found is not None
