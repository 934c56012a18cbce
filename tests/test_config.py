"""The configuration: what a file may say, what it means left out, and how a mistake is told."""

from __future__ import annotations

import json
import os
import re
import tempfile
from datetime import date, datetime, time
from pathlib import Path
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st
from msgspec.structs import asdict, replace
from twisted.trial.unittest import SynchronousTestCase

from hadesgw.config import (
    BUILT_IN,
    Body,
    Clients,
    ClientsSource,
    Config,
    ConfigError,
    Upstream,
    _default_text,
    clients_source,
    default_text,
    describe,
    load,
    parse,
)

ROOT = Path(__file__).parent.parent
FOLDER = Path("/etc/hadesgw")
CANARY = "hgw_Zk3canary9Qw8Er7Ty6Ui5"


def config(text: str) -> Config:
    """Read `text` as ``/etc/hadesgw/hadesgw.toml``."""
    return parse(text, "hadesgw.toml", FOLDER)


def fresh_folder(test: SynchronousTestCase) -> Path:
    """An empty folder that goes away with `test`, whichever runner runs it."""
    folder = tempfile.TemporaryDirectory()
    test.addCleanup(folder.cleanup)
    return Path(folder.name)


def toml(value: object) -> str:
    """Write any value that TOML can hold as an inline one."""
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{toml(key)} = {toml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, int) and value >= 1 << 64:
        return hex(value)  # the standard library refuses to write thousands of decimal digits
    return json.dumps(value).replace("NaN", "nan").replace("Infinity", "inf")


def saying(path: str, value: object) -> str:
    """A document that says `value` at one of the paths of `describe`, and else only what must be said."""
    document: Any = value
    for step in reversed(re.findall(r'"[^"]*"|\[\]|[^.\[\]"]+', path)):
        document = [document] if step == "[]" else {step.strip('"'): document}
    if path.startswith("upstream[]."):
        document["upstream"][0] = {"name": "a", "socket": "/s"} | document["upstream"][0]
    return "\n".join(f"{key} = {toml(item)}" for key, item in document.items())


KEYS = [key.path for key in describe()]
SECTIONS = sorted({path.partition(".")[0].removesuffix("[]") for path in KEYS})

GARBAGE = st.recursive(
    st.booleans()
    | st.integers(min_value=-(1 << 70), max_value=1 << 70)
    | st.sampled_from([0, 1, -1, 10**12, 1 << 36, (1 << 36) + 1, 10**300])
    | st.floats()
    | st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=30)
    | st.sampled_from(
        ["", "*", "/", "/v1", "64KiB", "tcp:80", "tls:80", "unix:/a", "http://a", "http://[", "\0"]
    )
    | st.datetimes()
    | st.dates()
    | st.times(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=8), inner, max_size=3
        )
    ),
    max_leaves=6,
)


class DefaultsTests(SynchronousTestCase):
    """The built-in defaults are ``etc/hadesgw.toml`` to the letter."""

    def test_the_defaults_are_the_file(self) -> None:
        """Without a file the text of ``etc/hadesgw.toml`` applies."""
        self.assertEqual(default_text(), (ROOT / "etc" / "hadesgw.toml").read_text())

    def test_a_wheel_brings_its_own(self) -> None:
        """Installed, the package has the file beside its modules; in a checkout it is the one in `etc`."""
        package = Path(self.mktemp())
        package.mkdir()
        self.assertEqual(_default_text(package, ROOT), default_text())
        (package / "defaults.toml").write_text("[server]\n")
        self.assertEqual(_default_text(package, ROOT), "[server]\n")

    def test_the_file_says_what_the_structs_say(self) -> None:
        """An empty file and the file of defaults mean the same, and so does a `Config` made in code."""
        self.assertEqual(config(default_text()), config(""))
        placed = {
            "source": "hadesgw.toml",
            "folder": str(FOLDER),
            "clients": Clients(file="/etc/hadesgw/clients.toml"),
        }
        self.assertEqual(config(""), replace(Config(), **placed))

    def test_the_file_shows_every_section_and_every_key_of_it(self) -> None:
        """Who reads the file of defaults sees all there is, but for an upstream's own token limits."""
        shown: set[str] = set()
        section = ""
        for line in default_text().splitlines():
            if line.startswith("["):
                section = line.split("]")[0].strip("[]").replace("upstream", "upstream[]")
            elif match := re.match(r'("[^"]*"|\w+) = ', line):
                shown.add(f"{section}.{match[1]}")
        unsaid = {"upstream[].context_tokens", "upstream[].output_tokens"}
        self.assertEqual(shown, set(KEYS) - unsaid)

    def test_load_without_a_file_counts_paths_from_the_working_folder(self) -> None:
        """The built-in ``clients.toml`` is looked for where the process was started."""
        loaded = load(None)
        self.assertEqual(loaded.source, BUILT_IN)
        self.assertEqual(loaded.clients.file, str(Path.cwd() / "clients.toml"))


class LoadTests(SynchronousTestCase):
    """`load` reads one file, or says why not."""

    def write(self, content: bytes) -> str:
        """A configuration file with this content."""
        path = fresh_folder(self) / "hadesgw.toml"
        path.write_bytes(content)
        return str(path)

    def test_a_file_replaces_the_defaults(self) -> None:
        """What it says holds, tables of paths wholly, and what it leaves out has its default."""
        path = self.write(b'[timeouts]\nidle = 1.5\n[tree]\n"/" = ["health"]\n')
        loaded = load(path)
        self.assertEqual(loaded.timeouts.idle, 1.5)
        self.assertEqual(loaded.timeouts.connect, 5.0)
        self.assertEqual(loaded.tree, {"/": ("health",)})
        self.assertEqual(loaded.source, path)

    def test_relative_paths_count_from_the_files_folder(self) -> None:
        """Every path of a file becomes absolute; an absolute one and an empty one stay."""
        text = """
            server.control = "run/control.sock"
            tls = { certificate = "tls/a.pem", private_key = "tls/a.key", client_ca = "" }
            upstream = [{ name = "a", socket = "../a.sock" }, { name = "b", socket = "/b.sock" }]
            sessions.workspaces = { app = "work/app" }
        """
        found = config(text)
        self.assertEqual(found.server.control, "/etc/hadesgw/run/control.sock")
        self.assertEqual(
            asdict(found.tls),
            {
                "certificate": "/etc/hadesgw/tls/a.pem",
                "private_key": "/etc/hadesgw/tls/a.key",
                "client_ca": "",
            },
        )
        self.assertEqual(
            [upstream.socket for upstream in found.upstream], ["/etc/hadesgw/../a.sock", "/b.sock"]
        )
        self.assertEqual(found.clients.file, "/etc/hadesgw/clients.toml")
        self.assertEqual(found.sessions.workspaces, {"app": "/etc/hadesgw/work/app"})

    def test_a_relative_file_has_an_absolute_folder(self) -> None:
        """Paths stay right when the process changes its working folder later."""
        path = os.path.relpath(self.write(b""))
        loaded = load(path)
        self.assertEqual(loaded.source, path)
        self.assertTrue(Path(loaded.folder).is_absolute())

    def test_a_file_that_cannot_be_read_is_named_with_the_reason(self) -> None:
        """Missing, a folder, a name that cannot be, too long, no UTF-8: one line each."""
        folder = str(fresh_folder(self))
        table = {
            "no/such.toml": "expected a readable file: No such file or directory",
            folder: "expected a readable file: Is a directory",
            "a\0b": "expected a readable file: no file can have this name",
            self.write(b"#" * (1 << 20) + b"\n"): "expected a file of at most 1 MiB",
            self.write(b"# good\n# \xff\n"): "line 2: expected UTF-8 text",
        }
        for path, words in table.items():
            error = self.assertRaises(ConfigError, load, path)
            self.assertTrue(str(error).endswith(f": {words}"), str(error))
            self.assertEqual(error.file, path)

    def test_a_file_may_fill_the_limit(self) -> None:
        """1 MiB to the byte is read."""
        self.assertEqual(load(self.write(b"#" * (1 << 20))).timeouts.idle, 60.0)


class ValueTests(SynchronousTestCase):
    """Each kind of value, at its edges and one past them."""

    def refused(self, text: str, *words: str) -> None:
        """`text` is refused in words that contain these."""
        error = self.assertRaises(ConfigError, config, text)
        for word in words:
            self.assertIn(word, str(error))

    def test_every_number_holds_at_its_edges_and_not_past_them(self) -> None:
        """Lowest and highest admitted; below and above refused, with the key."""
        seconds = (0.001, 0, 86_400, 86_400.5)
        count = (1, 0, 1_000_000, 1_000_001)
        tokens = (1, 0, 100_000_000, 100_000_001)
        body = (1, 0, 1 << 36, (1 << 36) + 1)
        head = (1024, 1023, 1 << 20, (1 << 20) + 1)
        edges = {
            "upstream[].max_in_flight": count,
            "upstream[].context_tokens": tokens,
            "upstream[].output_tokens": tokens,
            "limits.requests_per_second": (0.001, 0, 1_000_000, 1_000_000.5),
            "limits.burst": count,
            "limits.max_in_flight": count,
            "limits.queue": (0, -1, 1_000_000, 1_000_001),
            "limits.queue_seconds": seconds,
            "limits.connections": count,
            "limits.choices": count,
            "limits.body.default": body,
            "limits.body.memory": body,
            'limits.body."/v1/responses"': body,
            "limits.head.bytes": head,
            "limits.head.fields": (1, 0, 1000, 1001),
            "limits.response_head.bytes": head,
            "budget.context_tokens": tokens,
            "budget.output_tokens": tokens,
            "sessions.max_sessions": count,
            "sessions.max_per_client": count,
            "sessions.queue": count,
            "sessions.input": head,
            "sessions.replay_messages": (16, 15, 1_000_000, 1_000_001),
            "sessions.replay": (64 << 10, (64 << 10) - 1, 1 << 30, (1 << 30) + 1),
            "sessions.active_files": count,
            "sessions.niceness": (0, -1, 19, 20),
            "sessions.aider.map_tokens": (0, -1, 65_536, 65_537),
            **{f"sessions.{name}_seconds": seconds for name in ("idle", "age", "approval", "absence", "git")},
            "websocket.message": head,
            "websocket.frames_per_second": (0.001, 0, 1_000_000, 1_000_000.5),
            "websocket.frames_burst": count,
            "websocket.unread": (64 << 10, (64 << 10) - 1, 1 << 30, (1 << 30) + 1),
            "websocket.per_client": count,
            **{f"websocket.{name}_seconds": seconds for name in ("ping", "pong", "close", "stall")},
            **{key: seconds for key in KEYS if key.startswith("timeouts.")},
        }
        numbers = {
            key.path for key in describe() if re.search("a number|a whole number|a size", key.expected)
        }
        self.assertEqual(set(edges), numbers)
        for key, (lowest, below, highest, above) in edges.items():
            named = key.replace("[]", "[0]")
            for value in (lowest, highest):
                error = self.failure_of(saying(key, value))
                if (
                    error is not None
                ):  # a contradiction with another key's default: the number itself was taken
                    self.assertNotIn("got", error.expected, key)
            for value in (below, above):
                self.refused(saying(key, value), f"hadesgw.toml: {named}: ", f"got {value}")

    def failure_of(self, text: str) -> ConfigError | None:
        """What is wrong with `text`, if anything."""
        try:
            config(text)
        except ConfigError as error:
            return error
        return None

    def test_numbers_are_numbers(self) -> None:
        """A text, a truth value, nan and infinity are none, and a fraction counts nothing."""
        self.refused("timeouts.idle = 'abc'", "timeouts.idle: expected a number of seconds > 0", "got 'abc'")
        for value in ("true", "nan", "inf", "[]", "{}", "'5'"):
            self.refused(f"timeouts.idle = {value}", "timeouts.idle: expected a number of seconds > 0")
        for value in ("true", "1.5", "nan", "'5'", "0x10000000000000000"):
            self.refused(f"limits.burst = {value}", "limits.burst: expected a whole number")

    def test_sizes_are_bytes(self) -> None:
        """Binary units, or a plain number; nothing that could be meant in two ways."""
        for written, size in {
            '"64KiB"': 65536,
            '"1MiB"': 1048576,
            '"2GiB"': 2 << 30,
            "100": 100,
            '"100"': 100,
        }.items():
            found = config(f"limits.body.default = {written}\nlimits.body.memory = '64GiB'")
            self.assertEqual(found.limits.body.default, size)
        for written in (
            '"64KB"',
            '"64k"',
            '"64 KiB"',
            '"-1KiB"',
            '"1.5MiB"',
            '"KiB"',
            '""',
            '"٦KiB"',
            "1.5",
            "true",
        ):
            self.refused(f"limits.body.default = {written}", "limits.body.default: expected a size")

    def test_listeners_are_read(self) -> None:
        """A listener that cannot be opened is refused in the words of its grammar, two at one place too."""
        self.refused("server.listen = ['ssl:443']", "server.listen[0]: expected tls: instead of ssl:")
        self.refused("server.listen = []", "server.listen: expected a list of listeners, at least one")
        self.refused(
            "server.listen = ['tcp:1', 'tcp:2', 'tcp:1:interface=0.0.0.0']",
            "server.listen[2]: expected another place than server.listen[0] has",
        )
        self.refused(
            "server.listen = ['unix:/a', 'unix:/a']", "server.listen[1]: expected an entry that is not"
        )

    def test_a_scraper_without_a_credential_comes_by_a_unix_socket(self) -> None:
        """Anything else is refused: no mode keeps others away from it."""
        found = config("metrics.listen = 'unix:/run/hadesgw/metrics.sock:mode=660'")
        self.assertEqual(found.metrics.listen, "unix:/run/hadesgw/metrics.sock:mode=660")
        self.assertEqual(config("metrics.listen = ''").metrics.listen, "")
        for listener in ("tcp:9100:interface=127.0.0.1", "systemd:domain=UNIX:index=0", "fd:3"):
            self.refused(f"metrics.listen = '{listener}'", "metrics.listen: expected a unix: listener")
        self.refused("metrics.listen = 'unix:metrics.sock'", "metrics.listen: expected")

    def test_host_names_are_names_alone(self) -> None:
        """Lower case is kept; a port, a wildcard, a path or a bare IPv6 address is no host name."""
        found = config("server.names = ['Gate.Example', '[::1]', '10.0.0.1']")
        self.assertEqual(found.server.names, ("gate.example", "[::1]", "10.0.0.1"))
        for name in (
            "",
            "a:80",
            "*.example",
            "a/b",
            "::1",
            "[1.2.3.4]",
            "[::g]",
            "[::1",
            "-a",
            "a-",
            "a\n",
            "a" * 256,
        ):
            self.refused(f"server.names = [{toml(name)}]", "server.names[0]: expected a host name")

    def test_paths_of_the_tree_have_one_spelling(self) -> None:
        """A path is whole plain segments; what could be written in two ways is refused."""
        for path in ("/", "/v1", "/a/b.c", "/a..b", "/.well-known/x", "/~u/a@b:c"):
            self.assertIn(path, config(f"tree = {{ {toml(path)} = ['health'] }}").tree)
        for path in (
            "",
            "v1",
            "/v1/",
            "//",
            "/a//b",
            "/.",
            "/..",
            "/a/../b",
            "/a%20b",
            "/a b",
            "/a?b",
            "/é",
            "/a\n",
        ):
            self.refused(f"tree = {{ {toml(path)} = ['health'] }}", "tree.", "expected a path such as")
            self.refused(
                "tree = {}", "tree: expected a table of layers by path, at least one, got an empty table"
            )

    def test_layers_are_names(self) -> None:
        """A path has at least one layer, and none of them twice."""
        self.refused(
            "tree.'/v1' = []", 'tree."/v1": expected a list of layers, at least one, got an empty list'
        )
        self.refused("tree.'/v1' = ['Guard']", 'tree."/v1"[0]: expected a layer name')
        self.refused(
            "tree.'/v1' = ['guard', 'guard']", 'tree."/v1"[1]: expected an entry that is not in the list'
        )

    def test_header_names_are_free_tokens(self) -> None:
        """No separator, no underscore, and no field that means something to anybody else."""
        for name in (
            "",
            "a b",
            "a:",
            "a_b",
            "é",
            "x\r\n",
            "a" * 65,
            "Host",
            "cookie",
            "Authorization",
            "Connection",
        ):
            self.refused(f"headers.request_id = {toml(name)}", "headers.request_id: expected a header name")
        self.assertEqual(config(f"headers.request_id = '{'a' * 64}'").headers.request_id, "a" * 64)

    def test_origins_are_what_browsers_send(self) -> None:
        """Anything a browser would write otherwise would never match, so it is refused."""
        for origin in ("http://localhost:3000", "https://a.example", "http://[::1]:8080"):
            self.assertEqual(config(f"cors.origins = ['{origin}']").cors.origins, (origin,))
        for origin in (
            *("", "*", "null", "localhost", "ftp://a", "http://", "http://A", "http://a/", "http://a:80"),
            *(
                "https://a:443",
                "http://a:0",
                "http://a:x",
                "http://a?b",
                "http://u@a",
                "http://é",
                "http://[a",
                "http://a b",
                "http://a;b",
                "http://a,b",
            ),
        ):
            self.refused(f"cors.origins = [{toml(origin)}]", "cors.origins[0]: expected an origin")

    def test_the_registry_is_an_address_without_credentials(self) -> None:
        """What is shown in logs must be fit to be shown."""
        for url in ("", "http://localhost:8001", "https://hermes.example/base"):
            self.assertEqual(config(f"hermes.url = '{url}'").hermes.url, url)
        for url in (
            "localhost:8001",
            "ftp://a",
            "http://",
            "http://u:p@a",
            "http://a/?k=v",
            "http://a/#f",
            "http://a:0",
        ):
            self.refused(f"hermes.url = '{url}'", "hermes.url: expected an http or https address")

    def test_socket_paths_fit_the_kernel(self) -> None:
        """107 bytes with the folder before them; one more is refused here, not at the first request."""
        fits = "a" * (107 - len("/etc/hadesgw/"))
        self.assertEqual(len(config(saying("upstream[].socket", fits)).upstream[0].socket), 107)
        self.refused(
            saying("upstream[].socket", fits + "a"), "upstream[0].socket: expected a path of at most 107"
        )
        self.refused(saying("server.control", fits + "a"), "server.control: expected a path of at most 107")
        self.refused(saying("upstream[].socket", "a\0"), "upstream[0].socket: expected a path of at most 107")
        self.refused(saying("upstream[].socket", ""), "upstream[0].socket: expected a path of at most 107")

    def test_an_upstream_has_a_name_and_a_socket(self) -> None:
        """Neither can be guessed; models can be left to the upstream itself."""
        self.refused("upstream = []", "upstream: expected at least one [[upstream]]")
        self.refused("[[upstream]]\nsocket = '/s'", "upstream[0].name: expected a name", "cannot be left out")
        self.refused("[[upstream]]\nname = 'a'", "upstream[0].socket: expected a path", "cannot be left out")
        found = config("[[upstream]]\nname = 'a'\nsocket = '/s'").upstream
        self.assertEqual(found, (Upstream(name="a", socket="/s", models=(), max_in_flight=16),))

    def test_models_are_names(self) -> None:
        """Any visible name will do, as vLLM's are chosen freely; an empty or a spaced one is a mistake."""
        for model in ("Qwen/Qwen3-Coder", "llama:8b", "*", "модель"):
            self.assertEqual(config(saying("upstream[].models", [model])).upstream[0].models, (model,))
        for model in ("", "a b", "a\n", "a" * 257):
            self.refused(saying("upstream[].models", [model]), "upstream[0].models[0]: expected a model name")

    def test_choices_are_told(self) -> None:
        """A word out of a few is refused with the few."""
        for key in (key for key in describe() if " or " in key.expected and key.expected.startswith('"')):
            choices = re.findall('"([^"]*)"', key.expected)
            for choice in choices:
                self.assertIsInstance(config(saying(key.path, choice)), Config)
            self.refused(saying(key.path, "other"), f"{key.path}: expected {key.expected}, got 'other'")


class ContradictionTests(SynchronousTestCase):
    """Keys that are right alone and wrong together: both are named."""

    def test_contradictions_name_both_keys(self) -> None:
        """The operator sees what to change, and what it would have to agree with."""
        first = "[[upstream]]\nname = 'a'\nsocket = '/a'\n"
        second = first.replace("/a", "/b")
        no_certificate = "a path, since tls.private_key or tls.client_ca has one"
        headers = "another name than headers.request_id has"
        table = {
            "tls.certificate = 'a'": ("tls.private_key", "a path, since tls.certificate has one"),
            "tls.private_key = 'a'": ("tls.certificate", no_certificate),
            "tls.client_ca = 'a'": ("tls.certificate", no_certificate),
            "server.listen = ['tls:1']": (
                "tls.certificate",
                "a path, since server.listen has a tls: listener",
            ),
            "server.listen = ['unix:/a', 'unix:/b']\nmetrics.listen = 'unix:/b:mode=600'": (
                "metrics.listen",
                "another place than server.listen[1] has",
            ),
            "limits.body.memory = '1MiB'": (
                'limits.body."/v1/responses"',
                "a size of at most limits.body.memory",
            ),
            "limits.body.default = '257MiB'": ("limits.body.default", "a size of at most limits.body.memory"),
            "headers.session_id = 'x-request-id'": ("headers.session_id", headers),
            "sessions.default_workspace = 'a'": (
                "sessions.default_workspace",
                "a name in sessions.workspaces, got 'a'",
            ),
            "sessions.max_sessions = 3": ("sessions.max_per_client", "no more than sessions.max_sessions"),
            "sessions = { sandbox = 'read-only', codex = { confinement = 'none' } }": (
                "sessions.codex.confinement",
                '"required", since sessions.sandbox is "read-only"',
            ),
            "sessions = { sandbox = 'read-only', aider = { confinement = 'none' } }": (
                "sessions.aider.confinement",
                '"required", since sessions.sandbox is "read-only"',
            ),
            "sessions = { engine = 'aider', approval = 'untrusted' }": (
                "sessions.approval",
                '"on-request" or "never", since sessions.engine is "aider", which asks for nothing',
            ),
            "sessions.workspaces.all = '/'": ("sessions.workspaces.all", "a folder, and not the whole machine"),
            "sessions.workspaces.app = '.'": ("sessions.workspaces.app", "a folder that clients.file is not in"),
            "sessions.workspaces.app = '/run/hades'": (
                "sessions.workspaces.app",
                "a folder that upstream[0].socket is not in",
            ),
            "webclient.default_model = 'a'": (
                "webclient.default_model",
                "a model that an upstream admits, got 'a'",
            ),
            "budget.context_tokens = 2048": (
                "budget.output_tokens",
                "fewer tokens than budget.context_tokens",
            ),
            first * 2: ("upstream[1]", "an entry that is not in the list already"),
            first + second: ("upstream[1].name", "another name than upstream[0].name has"),
            first + "models = ['*', 'a']": ("upstream[0].models", 'names, or "*" alone'),
            first + "models = ['a', 'b']\n" + second.replace("'a'", "'b'", 1) + "models = ['c', 'b']": (
                "upstream[1].models[1]",
                "a name that is not in upstream[0].models too",
            ),
            first + "context_tokens = 9": (
                "budget.output_tokens",
                "fewer tokens than upstream[0].context_tokens",
            ),
            first + "output_tokens = 8192": (
                "upstream[0].output_tokens",
                "fewer tokens than budget.context_tokens",
            ),
        }
        for text, expected in table.items():
            error = self.assertRaises(ConfigError, config, text)
            self.assertEqual((error.key_path, error.expected), expected)

    def test_what_agrees_is_taken(self) -> None:
        """Each pair in harmony is a configuration."""
        text = """
            server.listen = ["tls:8443", "unix:/run/g.sock:mode=600"]
            tls = { certificate = "c", private_key = "k", client_ca = "a" }
            budget.context_tokens = 2049
            limits.body = { default = "16MiB", memory = "16MiB" }
            sessions = { workspaces = { app = "app" }, default_workspace = "app" }
            webclient.default_model = "m"
            upstream = [
                { name = "a", socket = "/a", context_tokens = 10, output_tokens = 9 },
                { name = "b", socket = "/a", models = ["*"] },
            ]
        """
        self.assertEqual(config(text).sessions.workspaces, {"app": str(FOLDER / "app")})


class UpstreamTests(SynchronousTestCase):
    """Where requests for a model go, and what they may ask for there."""

    def test_the_upstream_of_a_model(self) -> None:
        """The one that names it; else the first that may have it; else the first."""
        named = '[[upstream]]\nname = "a"\nsocket = "/a"\nmodels = ["x"]\n'
        asked = '[[upstream]]\nname = "b"\nsocket = "/b"\n'
        every = '[[upstream]]\nname = "c"\nsocket = "/c"\nmodels = ["*"]\n'
        for text, found in (
            (named, "aa"),
            (named + asked, "ab"),
            (asked + named, "ab"),
            (named + every, "ac"),
        ):
            upstreams = config(text)
            self.assertEqual("".join(upstreams.upstream_of(model).name for model in "xy"), found, text)

    def test_tokens_in_force(self) -> None:
        """An upstream's own, and the budget's where it has none."""
        found = config(
            "[budget]\ncontext_tokens = 100\noutput_tokens = 10\n"
            '[[upstream]]\nname = "a"\nsocket = "/a"\nmodels = ["x"]\ncontext_tokens = 50\n'
            '[[upstream]]\nname = "b"\nsocket = "/b"\nmodels = ["y"]\noutput_tokens = 20\n'
        )
        self.assertEqual([found.tokens(upstream) for upstream in found.upstream], [(50, 10), (100, 20)])


class BodyTests(SynchronousTestCase):
    """The cap of a body is decided by its path."""

    def test_the_longest_route_of_whole_segments_decides(self) -> None:
        """Not a prefix of characters, and the default where no route covers."""
        body = Body(default=1, routes={"/v1": 2, "/v1/responses": 3})
        table = {
            b"/": 1,
            b"/v1": 2,
            b"/v1/": 2,
            b"/v1beta": 1,
            b"/v1/chat/completions": 2,
            b"/v1/responses": 3,
            b"/v1/responses/x": 3,
            b"/v1/responsesx": 2,
            b"/v1/respons\xe9s": 2,
            b"": 1,
        }
        self.assertEqual({path: body.cap(path) for path in table}, table)

    def test_the_root_covers_everything(self) -> None:
        """ "/" is a default by another name."""
        body = Body(default=1, routes={"/": 2})
        self.assertEqual([body.cap(b"/"), body.cap(b"/a/b")], [2, 2])

    def test_raising_one_route_does_not_lower_another(self) -> None:
        """A file that gives one path a size leaves the others theirs."""
        body = config('limits.body."/v1/messages" = "32MiB"').limits.body
        self.assertEqual(body.cap(b"/v1/messages/count_tokens"), 32 << 20)
        self.assertEqual(body.cap(b"/v1/responses"), 16 << 20)
        self.assertEqual(body.cap(b"/v1/chat/completions"), 64 << 10)


class ClientsSourceTests(SynchronousTestCase):
    """Where the clients are read from."""

    def setUp(self) -> None:
        """A configuration's folder and a credentials folder, both empty."""
        self.folder = fresh_folder(self)
        self.credentials = self.folder / "credentials"
        self.credentials.mkdir()
        self.environ = {"CREDENTIALS_DIRECTORY": str(self.credentials), "HADESGW_CLIENTS": "[[client]]"}

    def source(self, text: str = "") -> ClientsSource:
        """What is chosen for a configuration in the folder."""
        return clients_source(parse(text, "hadesgw.toml", self.folder), self.environ)

    def test_the_first_that_is_there_is_taken(self) -> None:
        """File, then credential, then environment, then none."""
        (self.folder / "clients.toml").touch()
        (self.credentials / "clients").touch()
        self.assertEqual(self.source(), ClientsSource("file", path=str(self.folder / "clients.toml")))
        (self.folder / "clients.toml").unlink()
        self.assertEqual(self.source(), ClientsSource("credential", path=str(self.credentials / "clients")))
        (self.credentials / "clients").unlink()
        self.assertEqual(self.source(), ClientsSource("environment", text="[[client]]"))
        self.environ["HADESGW_CLIENTS"] = ""
        self.assertEqual(self.source(), ClientsSource("none"))
        self.environ.clear()
        self.assertEqual(self.source(), ClientsSource("none"))

    def test_a_file_with_a_name_of_its_own_must_be_there(self) -> None:
        """A list that was asked for and is missing is not replaced by another one."""
        error = self.assertRaises(ConfigError, self.source, "clients.file = 'who.toml'")
        self.assertEqual(error.key_path, "clients.file")
        self.assertTrue(error.expected.startswith("a file that exists, got "))
        (self.folder / "who.toml").touch()
        self.assertEqual(self.source("clients.file = 'who.toml'").path, str(self.folder / "who.toml"))

    def test_a_dangling_link_is_there(self) -> None:
        """A file that is not rendered yet does not let an older list in."""
        (self.folder / "clients.toml").symlink_to(self.folder / "not-yet")
        self.assertEqual(self.source().kind, "file")
        (self.folder / "clients.toml").unlink()
        (self.credentials / "clients").symlink_to(self.folder / "not-yet")
        self.assertEqual(self.source().kind, "credential")

    def test_no_file_is_passed_over(self) -> None:
        """An empty name means that no file is looked for."""
        (self.folder / "clients.toml").touch()
        self.assertEqual(self.source("clients.file = ''").kind, "environment")

    def test_the_text_stays_out_of_reprs(self) -> None:
        """A traceback or a log of the source does not hold the clients."""
        self.assertNotIn("[[client]]", repr(self.source()))


class HostileTests(SynchronousTestCase):
    """Whatever stands in the file: a configuration, or one line that names the key."""

    @given(st.sampled_from(KEYS), GARBAGE)
    @example("limits.burst", int("9" * 4000, 16))
    def test_garbage_at_a_key_is_taken_or_refused_by_name(self, path: str, garbage: object) -> None:
        """No value raises anything but a `ConfigError`, and its line names the key."""
        try:
            config(saying(path, garbage))
        except ConfigError as error:
            self.assertIn(path.replace("[]", "[0]"), str(error))
            self.assertTrue(str(error).isprintable(), str(error))

    @given(st.sampled_from(SECTIONS), GARBAGE)
    def test_garbage_for_a_section_is_taken_or_refused_by_name(self, section: str, garbage: object) -> None:
        """The same where a whole table is expected."""
        try:
            config(f"{section} = {toml(garbage)}")
        except ConfigError as error:
            self.assertTrue(error.key_path.startswith(section), str(error))
            self.assertTrue(str(error).isprintable(), str(error))

    def test_a_token_in_the_wrong_place_is_not_repeated(self) -> None:
        """Whatever key it is pasted to, and whatever key it is made: the token is in no error."""
        texts = [saying(path, value) for path in KEYS for value in (CANARY, [CANARY], {CANARY: CANARY})]
        texts += [f"{section}.{CANARY} = 1" for section in SECTIONS] + [f"a = '{CANARY}", f"{CANARY} = 1 2"]
        refusals = 0
        for text in texts:
            try:
                config(text)
            except ConfigError as error:
                refusals += 1
                self.assertNotIn(CANARY, str(error), text)
        self.assertGreater(refusals, 2 * len(KEYS))


class DocumentationTests(SynchronousTestCase):
    """``docs/configuration.md`` lists what there is."""

    def test_keys_defaults_and_expectations_are_those_of_the_code(self) -> None:
        """Every key is documented with its default, what it takes and its meaning, and no other key is."""
        text = (ROOT / "docs" / "configuration.md").read_text()
        rows = re.findall(r"^\| `([^`]+\.[^`]+)` \| `([^`]+)` \| (.+?) \| (.+?) \|$", text, re.MULTILINE)
        documented = [(path, default, expected.replace("`", "")) for path, default, expected, _ in rows]
        self.assertEqual(documented, [tuple(key) for key in describe()])

    def test_every_key_says_in_words_what_it_takes(self) -> None:
        """No key is left with the reader's word for a table."""
        self.assertEqual([key.path for key in describe() if key.expected == "a table"], [])

    def test_the_errors_shown_are_the_errors_made(self) -> None:
        """The examples at the top of the page are true."""
        text = (ROOT / "docs" / "configuration.md").read_text()
        for line in ("timeouts.idle = 'abc'", "timeouts.idel = 1", "\n" * 11 + "a ="):
            self.assertIn(str(self.assertRaises(ConfigError, config, line)), text)

    def test_the_examples_are_configurations(self) -> None:
        """Every TOML block of the page can be used as it stands."""
        blocks = re.findall(
            r"^```toml\n(.*?)^```", (ROOT / "docs" / "configuration.md").read_text(), re.M | re.S
        )
        upstreams, bodies = map(config, blocks)
        self.assertEqual([upstream.name for upstream in upstreams.upstream], ["coder", "small"])
        self.assertEqual(bodies.limits.body.cap(b"/v1/messages"), 32 << 20)
