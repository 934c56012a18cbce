"""The web client's files and what the page must know, as browsers and others ask for them."""

from __future__ import annotations

import gzip
import json
import tempfile
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from hadesgw import __version__
from hadesgw.config import Config, parse
from hadesgw.resources.stored_files import read_files
from hadesgw.resources.webclient import WebClient, page_settings
from tests.wire.answers import Answer
from tests.wire.door import Door

PAGE = b"<!doctype html><script type=module src=/assets/entry-3f9a.js></script>"
SCRIPT = b"console.log('moin')" * 100


class Case(SynchronousTestCase):
    """A built client of three files, served by a real site."""

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name) / "webclient_dist"
        (self.folder / "assets").mkdir(parents=True)
        (self.folder / "index.html").write_bytes(PAGE)
        (self.folder / "assets" / "entry-3f9a.js").write_bytes(SCRIPT)
        (self.folder / "assets" / "entry-3f9a.js.gz").write_bytes(gzip.compress(SCRIPT))
        (self.folder / "LICENSES.txt").write_bytes(b"MIT")

    def ask(self, path: str, *fields: str, method: str = "GET", config: Config | None = None) -> Answer:
        config = config or Config()
        client = WebClient(read_files(self.folder), page_settings(config), config.webclient.connect)
        head = "\r\n".join([f"{method} {path} HTTP/1.1", "Host: localhost", *fields, "", ""])
        return Door(client).call().send(head.encode()).answer(method.encode())


class FileTests(Case):
    """What is answered at which path."""

    def test_the_page(self) -> None:
        """At `/` and under its own name; to be asked for again each time."""
        for path in ("/", "/index.html", "/?x=1"):
            answer = self.ask(path)
            self.assertEqual((answer.status, answer.body), (200, PAGE), path)
            self.assertEqual(answer.one(b"content-type"), b"text/html; charset=utf-8")
            self.assertEqual(answer.one(b"cache-control"), b"no-cache")

    def test_files_with_a_hash_in_their_name_are_kept_for_ever(self) -> None:
        """And others are not."""
        self.assertIn(b"immutable", self.ask("/assets/entry-3f9a.js").one(b"cache-control"))
        self.assertEqual(self.ask("/LICENSES.txt").one(b"cache-control"), b"no-cache")

    def test_the_stored_gzip_is_given_to_whoever_takes_it(self) -> None:
        """With a tag of its own; caches are told that there are two."""
        plain, coded = (self.ask("/assets/entry-3f9a.js", *fields) for fields in ((), ("Accept-Encoding: gzip, br",)))
        self.assertEqual((plain.body, plain.all(b"content-encoding")), (SCRIPT, []))
        self.assertEqual((gzip.decompress(coded.body), coded.one(b"content-encoding")), (SCRIPT, b"gzip"))
        self.assertLess(len(coded.body), len(SCRIPT) // 5)
        self.assertNotEqual(plain.one(b"etag"), coded.one(b"etag"))
        for answer in (plain, coded):
            self.assertIn(b"Accept-Encoding", answer.all(b"vary"))
            self.assertEqual(answer.one(b"content-type"), b"text/javascript; charset=utf-8")
        self.assertEqual(self.ask("/", "Accept-Encoding: gzip").all(b"content-encoding"), [])  # none is stored

    def test_a_stored_gzip_has_no_address_of_its_own(self) -> None:
        """It is the same file."""
        self.assertEqual(self.ask("/assets/entry-3f9a.js.gz").status, 404)

    def test_who_has_the_file_is_told_so(self) -> None:
        """304 for the tag of the coding that would be sent, the whole file for another."""
        for fields in ((), ("Accept-Encoding: gzip",)):
            tag = self.ask("/assets/entry-3f9a.js", *fields).one(b"etag").decode()
            answer = self.ask("/assets/entry-3f9a.js", *fields, f"If-None-Match: {tag}")
            self.assertEqual((answer.status, answer.body), (304, b""))
            self.assertEqual(answer.one(b"etag").decode(), tag)
            self.assertIn(b"immutable", answer.one(b"cache-control"))
            self.assertEqual(answer.all(b"content-encoding") + answer.all(b"content-type"), [])
        coded = self.ask("/assets/entry-3f9a.js", "Accept-Encoding: gzip").one(b"etag").decode()
        self.assertEqual(self.ask("/assets/entry-3f9a.js", f"If-None-Match: {coded}").status, 200)

    def test_head_has_the_length_and_no_body(self) -> None:
        """Like GET in all else."""
        answer = self.ask("/", method="HEAD")
        self.assertEqual((answer.status, answer.body), (200, b""))
        self.assertEqual(answer.one(b"content-length"), b"%d" % len(PAGE))

    def test_nothing_else_is_there(self) -> None:
        """No way out of the folder, no spelling of a name but its own, no page that stands for all others."""
        (self.folder.parent / "secret.txt").write_bytes(b"secret")
        for path in (
            "/../secret.txt",
            "/assets/../../secret.txt",
            "/%2e%2e/secret.txt",
            "/..%2fsecret.txt",
            "//index.html",
            "/./index.html",
            "/index.html/",
            "/INDEX.HTML",
            "/index%2ehtml",
            "/assets",
            "/assets/",
            "/chat/some-session",
            "/ui/",
            "/index.html%00.js",
        ):
            answer = self.ask(path)
            self.assertIn(answer.status, (400, 404), path)
            self.assertNotIn(b"secret", answer.body)
            self.assertEqual(answer.one(b"content-type"), b"application/json")

    def test_other_methods(self) -> None:
        """405 where there is something, 404 where there is nothing."""
        for method in ("POST", "PUT", "PATCH", "DELETE", "OPTIONS"):
            answer = self.ask("/", method=method)
            self.assertEqual((answer.status, answer.one(b"allow")), (405, b"GET, HEAD"))
            self.assertEqual(self.ask("/nothing", method=method).status, 404)

    def test_without_a_build(self) -> None:
        """The page says what to run; the settings are there for a client that is served from elsewhere."""
        for path in sorted(self.folder.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        for step in (lambda: None, self.folder.rmdir):
            step()
            answer = self.ask("/")
            self.assertEqual((answer.status, answer.one(b"content-type")), (404, b"text/plain; charset=utf-8"))
            self.assertIn(b"make webclient", answer.body)
            self.assertEqual(self.ask("/", method="POST").status, 405)
            self.assertEqual(json.loads(self.ask("/ui/build.json").body)["hash"], None)
            self.assertEqual(self.ask("/ui/config.json").status, 200)


class ProtectionTests(Case):
    """What every answer forbids the page."""

    def policy(self, answer: Answer) -> dict[str, list[str]]:
        value = answer.one(b"content-security-policy").decode()
        directives = [directive.split() for directive in value.split("; ")]
        self.assertEqual(len({words[0] for words in directives}), len(directives))
        return {words[0]: words[1:] for words in directives}

    def test_nothing_inline_nothing_foreign_no_sink(self) -> None:
        """No source but our own files; nothing that is unsafe; no policy may make trusted types; not in a frame."""
        policy = self.policy(self.ask("/"))
        for name, sources in policy.items():
            self.assertIn(sources, (["'none'"], ["'self'"], ["'script'"]), name)
        for name in ("default-src", "base-uri", "form-action", "frame-ancestors", "trusted-types"):
            self.assertEqual(policy[name], ["'none'"], name)
        self.assertEqual(policy["require-trusted-types-for"], ["'script'"])

    def test_every_answer_has_it(self) -> None:
        """Files, settings, 304, refusals: whatever a browser could be made to show."""
        found = [("/", "GET"), ("/assets/entry-3f9a.js", "HEAD"), ("/ui/config.json", "GET")]
        for path, method in [*found, ("/x", "GET"), ("/", "PUT")]:
            for fields in ((), ("If-None-Match: *",)):
                answer = self.ask(path, *fields, method=method)
                self.assertIn("default-src", self.policy(answer))
                self.assertEqual(answer.one(b"x-content-type-options"), b"nosniff")
                self.assertEqual(answer.one(b"referrer-policy"), b"no-referrer")
                self.assertEqual(answer.one(b"cross-origin-opener-policy"), b"same-origin")
                self.assertEqual(answer.one(b"cross-origin-resource-policy"), b"same-origin")
                answer.one(b"x-request-id")
                answer.one(b"x-conveyance-session-id")

    def test_whom_the_page_may_call_is_the_operator_s_to_say(self) -> None:
        """Ourselves, and the origins of the configuration."""
        config = parse('webclient.connect = ["https://a.example:8443"]', "test.toml", Path("/nowhere"))
        self.assertEqual(
            self.policy(self.ask("/", config=config))["connect-src"], ["'self'", "https://a.example:8443"]
        )


class SettingsTests(Case):
    """`/ui/config.json` and `/ui/build.json`."""

    def settings(self, text: str = "") -> dict[str, object]:
        answer = self.ask("/ui/config.json", config=parse(text, "test.toml", Path("/nowhere")))
        self.assertEqual((answer.status, answer.one(b"cache-control")), (200, b"no-cache"))
        self.assertEqual(answer.one(b"content-type"), b"application/json")
        settings: dict[str, object] = json.loads(answer.body)
        self.assertEqual(settings.pop("build"), json.loads(self.ask("/ui/build.json").body))
        return settings

    def test_the_built_in_ones(self) -> None:
        """Names of headers, a model, and the limits a request would meet."""
        self.assertEqual(
            self.settings(),
            {
                "headers": {"request_id": "X-Request-ID", "session_id": "X-Conveyance-Session-ID"},
                "default_model": "qwen3-coder-30b-a3b-instruct",
                "limits": {
                    "body_bytes": {"default": 65536, "/v1/responses": 16 << 20},
                    "context_tokens": 8192,
                    "output_tokens": 2048,
                    "requests_per_second": 5.0,
                    "burst": 10,
                    "max_in_flight": 4,
                },
                "connect": [],
                "memory_tools": list(Config().telemetry.memory_tools),
            },
        )

    def test_the_model_it_begins_with(self) -> None:
        """The configured one, else the first that is named; none where any is admitted."""
        upstream = '[[upstream]]\nname = "a"\nsocket = "/s"\nmodels = '
        self.assertEqual(self.settings(upstream + '["m", "n"]')["default_model"], "m")
        self.assertEqual(self.settings(upstream + '["*"]')["default_model"], "")
        chosen = '[webclient]\ndefault_model = "n"\n'
        self.assertEqual(self.settings(chosen + upstream + '["m", "n"]')["default_model"], "n")

    def test_an_upstream_s_own_limits(self) -> None:
        """Go before those of the budget, as they do when a request is judged."""
        text = '[[upstream]]\nname = "a"\nsocket = "/s"\ncontext_tokens = 9000\noutput_tokens = 7'
        limits = self.settings(text)["limits"]
        assert isinstance(limits, dict)
        self.assertEqual((limits["context_tokens"], limits["output_tokens"]), (9000, 7))

    def test_the_build_s_hash_changes_with_any_file(self) -> None:
        """So that a page can tell that it is not the one that is served now."""
        before = json.loads(self.ask("/ui/build.json").body)
        self.assertEqual(before["version"], __version__)
        self.assertEqual(json.loads(self.ask("/ui/build.json").body), before)
        (self.folder / "index.html").write_bytes(PAGE + b" ")
        self.assertNotEqual(json.loads(self.ask("/ui/build.json").body)["hash"], before["hash"])
