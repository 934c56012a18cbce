"""The tree: what is refused at start, and which resource owns which path."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import cast

from prometheus_client import CollectorRegistry
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.resource import Resource

from hadesgw.config import Config, ConfigError, parse
from hadesgw.http.agent import Agent
from hadesgw.http.site import Request
from hadesgw.policy.credentials import Client, ClientDirectory, ClientStore, Role, anonymous_client
from hadesgw.resources.limiter import Limiter
from hadesgw.telemetry.followers import Followers
from hadesgw.telemetry.log import Log, Sink
from hadesgw.telemetry.meters import Meters
from hadesgw.tree import LAYERS, LEAVES, Parts, PathTable, build_tree, check_tree
from tests.sessions.stage import Stage
from tests.wire.door import Door, Leaf, hold

_UPSTREAM = '[[upstream]]\nname = "vllm"\nsocket = "/run/vllm.sock"\nmodels = ["m"]\n'


def _config(tree: str) -> Config:
    return parse(f"{_UPSTREAM}[tree]\n{tree}\n", "test.toml", Path("/nowhere"))


class CheckTests(SynchronousTestCase):
    """A tree that cannot work is refused with one line that names the file, the path and what was expected."""

    def _refused(self, tree: str) -> str:
        line = str(self.assertRaises(ConfigError, check_tree, _config(tree)))
        self.assertNotIn("\n", line)
        return line

    def test_unknown_layer(self) -> None:
        """A layer nobody knows is named, with those that are known."""
        line = self._refused('"/v1" = ["gaurd", "proxy"]')
        self.assertIn('test.toml: tree."/v1"', line)
        self.assertIn("'gaurd'", line)
        self.assertIn("guard", line)

    def test_leaf_not_last(self) -> None:
        """What answers itself cannot have anything behind it."""
        self.assertIn("'proxy' to be the last", self._refused('"/v1" = ["proxy", "guard", "health"]'))

    def test_no_leaf(self) -> None:
        """Something must answer."""
        self.assertIn("a leaf as the last layer", self._refused('"/v1" = ["metered", "guard"]'))

    def test_open_to_everybody(self) -> None:
        """What rules the gateway, or speaks for a client, does not stand without a guard."""
        for leaf in ("admin", "metrics", "ticket"):
            self.assertIn(f"'guard' before '{leaf}'", self._refused(f'"/x" = ["metered", "cors", "{leaf}"]'))
            check_tree(_config(f'"/x" = ["guard", "{leaf}"]'))

    def test_preflight_behind_the_guard(self) -> None:
        """A cors layer that no preflight could reach is a slip of the pen; without a guard it is none."""
        self.assertIn("'cors' before 'guard'", self._refused('"/v1" = ["guard", "cors", "proxy"]'))
        check_tree(_config('"/v1" = ["cors", "proxy"]'))

    def test_layer_twice(self) -> None:
        """A layer that is there twice was a slip of the pen."""
        line = str(self.assertRaises(ConfigError, _config, '"/v1" = ["guard", "guard", "proxy"]'))
        self.assertIn('tree."/v1"[1]', line)

    def test_limiter_before_guard(self) -> None:
        """Who does not know whom it limits would let one client use up the shares of all."""
        self.assertIn("'guard' before 'limiter'", self._refused('"/v1" = ["limiter", "guard", "proxy"]'))
        check_tree(_config('"/v1" = ["guard", "limiter", "proxy"]'))
        check_tree(_config('"/v1" = ["limiter", "proxy"]'))

    def test_validation_before_guard_or_limiter(self) -> None:
        """Nobody's body is read before it is known that he may send one."""
        for layers in ('"validation", "guard", "limiter"', '"guard", "validation", "limiter"', '"validation", "guard"'):
            self.assertIn("'validation' behind 'guard'", self._refused(f'"/v1" = [{layers}, "proxy"]'))
        check_tree(_config('"/v1" = ["guard", "limiter", "validation", "proxy"]'))
        check_tree(_config('"/v1" = ["validation", "proxy"]'))

    def test_unreachable(self) -> None:
        """A proxy where none of its routes lies could never be reached."""
        self.assertIn("can be reached", self._refused('"/api" = ["guard", "proxy"]'))
        self.assertIn('such as "/"', self._refused('"/client" = ["webclient"]'))

    def test_good(self) -> None:
        """The built-in tree passes, and so does a proxy at the root."""
        check_tree(Config())
        check_tree(_config('"/" = ["guard", "proxy"]'))
        check_tree(_config('"/v1/chat" = ["guard", "proxy"]'))


class PathTableTests(SynchronousTestCase):
    """A path owns itself and what is below it, by whole segments of raw bytes."""

    def _owner(self, path: bytes, *owned: bytes) -> bytes:
        def leaf(name: bytes) -> Leaf:
            return Leaf(lambda request: b"%b %r %r" % (name, request.prepath, request.postpath))

        caller = Door(PathTable({name: leaf(name) for name in owned})).call()
        caller.send(b"GET %b HTTP/1.1\r\nHost: localhost\r\n\r\n" % path)
        answer = caller.answer(b"GET")
        return answer.body if answer.status == 200 else b"%d" % answer.status

    def test_longest_prefix(self) -> None:
        """The longest configured path decides, and what it does not own is left for it."""
        self.assertEqual(self._owner(b"/v1/chat/completions", b"/", b"/v1"), b"/v1 [b'v1'] [b'chat', b'completions']")
        self.assertEqual(self._owner(b"/v1/chat/x", b"/v1", b"/v1/chat"), b"/v1/chat [b'v1', b'chat'] [b'x']")
        self.assertEqual(self._owner(b"/v1", b"/v1"), b"/v1 [b'v1'] []")

    def test_whole_segments(self) -> None:
        """A prefix that ends inside a segment is none."""
        self.assertEqual(self._owner(b"/v1x", b"/v1"), b"404")
        self.assertEqual(self._owner(b"/healthz.bak", b"/healthz"), b"404")

    def test_raw_bytes(self) -> None:
        """Another spelling of a path is another path: nothing is decoded, collapsed or folded."""
        for spelling in (b"/%761/m", b"/V1/m", b"//v1/m", b"/./v1/m", b"/x/../v1/m", b"/v1;a=b"):
            self.assertEqual(self._owner(spelling, b"/v1"), b"404", spelling)

    def test_root(self) -> None:
        """The root owns what nobody else does."""
        self.assertEqual(self._owner(b"/favicon.ico", b"/", b"/v1"), b"/ [] [b'favicon.ico']")
        self.assertEqual(self._owner(b"/", b"/"), b"/ [] [b'']")

    def test_nothing(self) -> None:
        """Where nobody is, the answer is a 404 in JSON, with ids."""
        caller = Door(PathTable({})).call()
        caller.send(b"POST /v1/nothing HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n")
        answer = caller.answer(b"POST")
        self.assertEqual((answer.status, answer.one(b"content-type")), (404, b"application/json"))
        self.assertTrue(answer.one(b"x-request-id"))

    def test_paths(self) -> None:
        """Whoever wants to know is told every path there is."""
        self.assertEqual(PathTable({b"/v1": Leaf(hold), b"/": Leaf(hold)}).paths, ["/v1", "/"])

    def test_ordinary_resources(self) -> None:
        """Any Twisted resource can be a leaf, and finds its children by what is left of the path."""

        class Child(Resource):
            isLeaf = True

            def render_GET(self, request: Request) -> bytes:
                return b"child"

        parent = Resource()
        parent.putChild(b"child", Child())
        caller = Door(PathTable({b"/files": parent})).call()
        caller.send(b"GET /files/child HTTP/1.1\r\nHost: localhost\r\n\r\n")
        self.assertEqual(caller.answer(b"GET").body, b"child")


class BuildTests(SynchronousTestCase):
    """Every name that the check knows can be built."""

    def _parts(self, config: Config, anonymous: Client | None = None) -> Parts:
        clock = Clock()
        registry = CollectorRegistry()
        sessions = Stage(Path(self.mktemp())).registry
        agent = Agent(
            "vllm",
            clock,
            None,  # type: ignore[arg-type]
            random=lambda: 0.5,
            connect_seconds=1,
            first_byte_seconds=1,
            head_limit=1024,
        )
        return Parts(
            config=config,
            clock=clock,
            wall=time.time,
            clients=ClientStore(ClientDirectory(()), anonymous),
            upstreams=[agent],
            meters=Meters(registry),
            registry=registry,
            log=Log(Sink(2), time.time, text=False, level="critical"),
            followers=Followers(),
            sessions=lambda: sessions,
            agents=sessions.tokens,
            entropy=os.urandom,
        )

    def test_agents_reach_their_model_and_nothing_else(self) -> None:
        """The token of a session's agent is good where requests go to a model server, and at no other path."""
        config = parse(_UPSTREAM, "test.toml", Path("/nowhere"))
        parts = self._parts(config)
        token = parts.agents.issue("alice", "session_1")
        tree = build_tree(parts)
        reached = set()
        for path, layers in config.tree.items():
            if "guard" in layers:
                caller = Door(tree).call()
                head = f"GET {path}/x HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\r\n"
                if caller.send(head.encode()).answer(b"GET").status != 401:
                    reached.add(layers[-1])
        self.assertEqual(reached, {"proxy"})

    def test_every_layer(self) -> None:
        """All layers around all leaves: a resource comes out, and the guard is in front."""
        parts = self._parts(parse(_UPSTREAM, "test.toml", Path("/nowhere")))
        self.assertTrue(LAYERS and LEAVES)
        caller = Door(build_tree(parts)).call()
        caller.send(b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n")
        self.assertEqual(caller.answer(b"GET").status, 401)

    def test_a_clients_share_is_one_on_all_paths(self) -> None:
        """Two paths with a limiter each are one limit, on which every answer says how the client stands."""
        config = _config('"/v1" = ["guard", "limiter", "proxy"]\n"/v1/other" = ["guard", "limiter", "health"]')
        caller = Door(build_tree(self._parts(config, anonymous_client(Role.USER)))).call()
        for path in [b"/v1/nothing", b"/v1/other"] * 5 + [b"/v1/other"]:
            caller.send(b"GET %b HTTP/1.1\r\nHost: localhost\r\n\r\n" % path)
        answers = caller.answers()
        self.assertEqual([answer.status for answer in answers], [404, 200] * 5 + [429])
        self.assertEqual(
            [int(answer.one(b"x-ratelimit-remaining-requests")) for answer in answers], [*range(9, -1, -1), 0]
        )

    def test_only_before_a_model_there_is_a_queue(self) -> None:
        """What a limiter stands before decides whether there are slots to wait for: one gate for each model server."""
        config = _config(
            '"/v1" = ["limiter", "proxy"]\n"/v1/chat" = ["limiter", "proxy"]\n"/x" = ["limiter", "health"]'
        )
        parts = self._parts(config)
        gates = [cast(Limiter, LAYERS["limiter"](parts, path, Leaf(hold)))._gate for path in config.tree]
        self.assertEqual(gates, [parts.servers[0].gate, parts.servers[0].gate, None])
        self.assertEqual(parts.servers[0].gate.slots.free, 16)

    def test_what_cannot_be_traced(self) -> None:
        """It is read from listeners, clients and tree; the gauge stands before anybody has come."""
        for text, reasons in (
            ('[clients]\nanonymous = "user"', ["anonymous"]),
            ('[tree]\n"/v1" = ["metered", "proxy"]', ["unguarded"]),
            ('[server]\nlisten = ["unix:/a"]\n[clients]\nanonymous = "user"', []),
            ("", []),
        ):
            parts = self._parts(parse(f"{_UPSTREAM}{text}\n", "test.toml", Path("/nowhere")))
            self.assertEqual(parts.conveyance.reasons, reasons, text)
            gauge = parts.registry.get_sample_value("hades_codex_zero_propagation")
            self.assertEqual(gauge, bool(reasons), text)
