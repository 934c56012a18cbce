"""Every route there is, found in the tree that is built, with every credential that must not open it."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from prometheus_client import CollectorRegistry
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from hadesgw.config import Config, default_text, parse
from hadesgw.http.agent import Agent
from hadesgw.policy.credentials import Client, ClientDirectory, ClientStore, Role, Token
from hadesgw.policy.origins import Origins
from hadesgw.resources.codex_calls import CALLS
from hadesgw.resources.models import MODELS_ROUTE
from hadesgw.resources.proxy import ROUTES
from hadesgw.telemetry.followers import Followers
from hadesgw.telemetry.log import Log, Sink
from hadesgw.telemetry.meters import Meters
from hadesgw.tree import LEAVES, Parts, PathTable, build_tree, check_tree
from tests.sessions.stage import Stage
from tests.wire.answers import Answer
from tests.wire.door import Door

OPEN = {"/healthz", "/readyz", "/api/hermes", "/sdk", "/"}
"""Who may be asked by anybody. A path is put here, or below, by a person who has thought about it."""
GUARDED = {
    "/v1": Role.USER,
    "/api/ticket": Role.USER,
    "/api/codex": Role.USER,
    "/ws/codex": Role.USER,
    "/metrics": Role.OBSERVER,
    "/admin": Role.ADMIN,
}
"""All others, with the least role that opens them."""
ROUTES_BELOW = {
    "proxy": [route.decode("ascii") for route in (*ROUTES, MODELS_ROUTE)],
    "admin": ["/admin/clients", "/admin/limits", "/admin/clients/user/suspend", "/admin/clients/user/resume"],
    "codex": ["/api/codex/openapi.json"]
    + ["/api/codex/" + call.path.format(session_id="x", approval_id="y") for call in CALLS],
    "codex-socket": [],
    "ticket": [],
    "metrics": [],
    "health": [],
    "hermes": ["/api/hermes/services/codex"],
    "sdk": ["/sdk/codex-client.js", "/sdk/codex-client.d.ts"],
    "readiness": [],
    "webclient": ["/index.html", "/ui/config.json", "/ui/build.json"],
}
"""What a leaf answers below its path."""
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
NOW = datetime(2026, 11, 21, tzinfo=UTC)


def token(name: str) -> str:
    """The token of the client of that name."""
    return f"hgw_{name:x<43}"


def client(name: str, role: Role, expires: datetime | None = None) -> Client:
    """A client with one token."""
    digest = hashlib.sha256(token(name).encode()).digest()
    return Client(name=name, roles=frozenset((role,)), tokens=(Token(digest, expires),))


class EveryRouteTests(SynchronousTestCase):
    """The default tree, with the operator's path mounted."""

    def setUp(self) -> None:
        text = default_text().replace("[tree]", '[tree]\n"/admin" = ["metered", "guard", "admin"]', 1)
        self.config = parse(text, "test.toml", Path("/nowhere"))
        check_tree(self.config)
        self.clients = ClientStore(
            ClientDirectory(
                [
                    *(client(role.word, role) for role in Role),
                    client("expired", Role.ADMIN, NOW),
                    client("suspended", Role.ADMIN),
                ]
            ),
            None,
        )
        self.clients.suspend("suspended")
        self.tree = build_tree(self._parts(self.config))

    def _parts(self, config: Config) -> Parts:
        clock, registry = Clock(), CollectorRegistry()
        sessions = Stage(Path(self.mktemp())).registry
        upstream = Agent(
            "vllm",
            clock,
            None,  # type: ignore[arg-type]  # whoever got as far as the model server would fail
            random=lambda: 0.5,
            connect_seconds=1,
            first_byte_seconds=1,
            head_limit=1024,
        )
        return Parts(
            config=config,
            clock=clock,
            wall=NOW.timestamp,
            clients=self.clients,
            upstreams=[upstream],
            meters=Meters(registry),
            registry=registry,
            log=Log(Sink(2), NOW.timestamp, text=False, level="critical"),
            followers=Followers(),
            sessions=lambda: sessions,
            agents=sessions.tokens,
            entropy=random.Random(4).randbytes,
        )

    def _routes(self, tree: PathTable) -> Iterator[tuple[str, str]]:
        """Each guarded path of the tree with every route to it: itself, what its leaf answers, and what it does not."""
        for path in tree.paths:
            if path not in OPEN:
                below = ROUTES_BELOW[self.config.tree[path][-1]]
                for route in (path, f"{path}/", f"{path}/nothing-is-here", *below):
                    yield path, route

    def _door(self) -> Door:
        return Door(build_tree(self._parts(self.config)), origins=Origins(self.config.cors.origins))

    def _ask(self, method: str, route: str, fields: str, door: Door | None = None) -> Answer:
        head = f"{method} {route} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n{fields}\r\n"
        return (door or self._door()).call().send(head.encode()).answer(method.encode())

    def test_every_path_is_classified(self) -> None:
        """A new path fails here until somebody has said whether it is open, and to whom it is not."""
        self.assertEqual(set(self.tree.paths), OPEN | set(GUARDED))
        self.assertEqual(set(ROUTES_BELOW), set(LEAVES))

    def test_nobody_comes_in(self) -> None:
        """Each guarded route, by each method, with no, a wrong, a malformed, an expired, a suspended, a too low one."""
        cases = {
            "": 401,
            f"Authorization: Bearer {token('wrong')}\r\n": 401,
            "x-api-key: wrong\r\n": 401,
            "Authorization: Bearer\r\n": 400,
            f"Authorization: Bearer {token('admin')}\r\nx-api-key: other\r\n": 400,
            f"Cookie: token={token('admin')}\r\nX-Forwarded-User: admin\r\nX_Api_Key: {token('admin')}\r\n": 401,
            f"Authorization: Bearer {token('expired')}\r\n": 401,
            f"x-api-key: {token('suspended')}\r\n": 403,
        }
        asked, door = 0, self._door()
        for path, route in self._routes(self.tree):
            lower = [role for role in Role if role < GUARDED[path]]
            too_low = {f"Authorization: Bearer {token(role.word)}\r\n": 403 for role in lower}
            for fields, status in {**cases, **too_low}.items():
                for method in METHODS:
                    answer = self._ask(method, route, fields, door)
                    self.assertEqual(answer.status, status, (method, route, fields))
                    asked += 1
                    if asked % 4 == 0:  # what is held back after many failures is not what is asked here
                        door = self._door()
        self.assertGreater(asked, 1_000)
        self.assertEqual(self.clients.suspended, {"suspended"})

    def test_whoever_may_does(self) -> None:
        """The same routes let in whom they should, so that what was seen above was the guard."""
        for path, route in self._routes(self.tree):
            if path != "/v1" or route not in ROUTES_BELOW["proxy"]:  # those would ask a model server
                fields = f"Authorization: Bearer {token(GUARDED[path].word)}\r\n"
                for method in METHODS:
                    status = self._ask(method, route, fields).status
                    self.assertIn(status, (200, 400, 404, 405, 415, 426), (method, route))

    def test_limits_are_shown_as_they_are(self) -> None:
        """An operator sees the configuration's limits, and each model server's slots with those that are free."""
        said = json.loads(self._ask("GET", "/admin/limits", f"x-api-key: {token('admin')}\r\n").body)
        self.assertEqual((said["limits"]["burst"], said["limits"]["body"]["routes"]), (10, {"/v1/responses": 16 << 20}))
        self.assertEqual(said["timeouts"]["idle"], 60.0)
        upstream = {"name": "vllm", "max_in_flight": 16, "context_tokens": 8192, "output_tokens": 2048}
        self.assertEqual(said["upstreams"], [{**upstream, "free": 16, "waiting": 0}])

    def test_the_open_ones(self) -> None:
        """They need no credential, tell nothing of the model's or its clients', and change nothing."""
        for path in ("/healthz", "/ui/config.json", "/ui/build.json"):  # and /readyz, which asks the model server
            self.assertEqual(self._ask("GET", path, "").status, 200)
        for path in ("/healthz", "/readyz", "/", "/ui/config.json", "/ui/build.json"):
            for method in ("POST", "PUT", "PATCH", "DELETE"):
                self.assertEqual(self._ask(method, path, "").status, 405)

    def test_what_the_page_learns_is_no_secret(self) -> None:
        """Not where the model server or the clients' file is, not who the clients are."""
        told = self._ask("GET", "/ui/config.json", "").body.decode()
        for word in ("/run/", "clients.toml", "socket", "sha256", "expired", "suspended", "admin"):
            self.assertNotIn(word, told)

    def test_the_page_stands_for_no_other_path(self) -> None:
        """What is not there is not found, below the API's paths as anywhere."""
        for path in ("/v1beta", "/api", "/api/nothing", "/nothing", "/v1x/models"):
            answer = self._ask("GET", path, "")
            self.assertEqual((answer.status, answer.one(b"content-type")), (404, b"application/json"), path)
