"""The configuration's `[tree]` made into resources: paths, and the layers each request to them passes.

A path owns itself and everything below it, as far as no longer path does; segments are compared as raw bytes, so no
spelling of a path reaches a resource that another spelling would not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache, partial
from importlib.resources import files
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry
from twisted.internet.interfaces import IReactorTime
from twisted.python.reflect import namedAny
from twisted.web.resource import IResource, Resource

from hadesgw import __version__
from hadesgw.config import Config, ConfigError, Upstream
from hadesgw.http.site import Request
from hadesgw.interfaces import IRequestLog, IUpstream
from hadesgw.policy import refusals
from hadesgw.policy.allowance import Accounts, estimated_tokens
from hadesgw.policy.budget import Budget
from hadesgw.policy.conveyance import zero_propagation
from hadesgw.policy.credentials import ClientStore, Role
from hadesgw.policy.listening import parse_listener
from hadesgw.policy.origins import Origins
from hadesgw.policy.receipts import Receipts
from hadesgw.policy.request_body import BodyLimits
from hadesgw.policy.seats import Seats
from hadesgw.policy.session_tokens import SessionTokens
from hadesgw.policy.tickets import TicketStore
from hadesgw.resources.admin import Admin
from hadesgw.resources.choice import Choice, Way
from hadesgw.resources.cors import Cors
from hadesgw.resources.guard import Guard, Warrants
from hadesgw.resources.health import Health, Probe, Readiness
from hadesgw.resources.hermes import Discovery
from hadesgw.resources.late import Late
from hadesgw.resources.limiter import Gate, Limiter, Turnstile
from hadesgw.resources.metered import Metered
from hadesgw.resources.metrics import Metrics
from hadesgw.resources.models import MODELS_ROUTE, Catalogue, Models
from hadesgw.resources.penalties import Penalties
from hadesgw.resources.proxy import ROUTES, Proxy
from hadesgw.resources.sdk import Sdk
from hadesgw.resources.stored_files import read_files
from hadesgw.resources.ticket import TicketOffice
from hadesgw.resources.validation import TokenCounter, Validation
from hadesgw.resources.webclient import WebClient, page_settings
from hadesgw.telemetry.conveyance import Conveyance
from hadesgw.telemetry.followers import Followers
from hadesgw.telemetry.memory import Vocabulary
from hadesgw.telemetry.meters import Meters
from hadesgw.telemetry.witness import ProxyWitness

if TYPE_CHECKING:
    from hadesgw.sessions.registry import SessionRegistry


class Server:
    """What there is once for each model server.

    :param models: those it serves.
    :param gate: its slots.
    :param budget: what a request to it may ask for.
    """

    def __init__(self, upstream: IUpstream, models: Models, gate: Gate, budget: Budget) -> None:
        self.upstream = upstream
        self.models = models
        self.gate = gate
        self.budget = budget


class Parts:
    """What layers are built from; made by the composition root.

    :param wall: seconds since the epoch, for expiry dates.
    :param sessions: gives the coding sessions; not asked before somebody comes to them.
    :param agents: tokens of the agents that are at work in them.
    :param entropy: returns that many random bytes, such as `os.urandom`.
    """

    def __init__(
        self,
        *,
        config: Config,
        clock: IReactorTime,
        wall: Callable[[], float],
        clients: ClientStore,
        upstreams: list[IUpstream],
        meters: Meters,
        registry: CollectorRegistry,
        log: IRequestLog,
        followers: Followers,
        sessions: Callable[[], SessionRegistry],
        agents: SessionTokens,
        entropy: Callable[[int], bytes],
    ) -> None:
        self.config = config
        self.clock = clock
        self.wall = wall
        self.clients = clients
        self.meters = meters
        self.registry = registry
        self.log = log
        self.followers = followers
        self.sessions = sessions
        self.agents = agents
        kinds = [parse_listener(entry).kind for entry in config.server.listen]
        broken = zero_propagation(kinds, bool(config.clients.anonymous), config.tree)
        self.conveyance = Conveyance(broken, meters, log)
        self.probes = [Probe(upstream, clock, meters) for upstream in upstreams]
        self.origins = Origins(config.cors.origins)
        self.penalties = Penalties(clock, log)
        self.seats = Seats(config.websocket.per_client)
        self.receipts = Receipts()
        self.tickets = TicketStore(entropy)
        self.accounts = _accounts(config, clients)
        self.servers = [self._server(*pair) for pair in zip(config.upstream, upstreams, strict=True)]
        self.catalogue = Catalogue([server.models for server in self.servers])

    def _server(self, configured: Upstream, upstream: IUpstream) -> Server:
        budget = Budget(*self.config.tokens(configured))
        gate = Gate(
            upstream.name,
            routes=ROUTES,
            slots=configured.max_in_flight,
            places=self.config.limits.queue,
            seconds=self.config.limits.queue_seconds,
            cap=self.config.limits.body.cap,
            estimate=partial(estimated_tokens, output=budget.output_tokens, context=budget.context_tokens),
            observer=self.meters,
        )
        return Server(upstream, Models(upstream, configured.models, self.clock, self._own_models), gate, budget)

    def _own_models(self, name: str | None) -> tuple[str, ...] | None:
        """The only models that the client of that name may use, as the clients file has it now."""
        client = None if name is None else self.clients.named(name)
        return None if client is None else client.models


def _accounts(config: Config, clients: ClientStore) -> Accounts:
    limits = config.limits
    return Accounts(limits.requests_per_second, limits.burst, limits.max_in_flight, clients.named)


# -- Layers and leaves by their names in the configuration -------------------------------------------------------------


def _metered(parts: Parts, path: str, inner: IResource) -> IResource:
    return Metered(inner, path, parts.clock, parts.meters, parts.log, parts.followers)


def _cors(parts: Parts, path: str, inner: IResource) -> IResource:
    headers = parts.config.headers
    return Cors(inner, parts.origins, (headers.request_id, headers.session_id))


def _guard(parts: Parts, path: str, inner: IResource) -> IResource:
    leaf = parts.config.tree[path][-1]
    tickets = parts.tickets if leaf == "codex-socket" else None
    agents = parts.agents if leaf == "proxy" else None  # they call their model, and nothing else
    role = _ROLES.get(leaf, Role.USER)
    return Guard(
        inner, parts.clients, role, parts.wall, parts.meters, parts.penalties, tickets, parts.clock.seconds, agents
    )


def _limiter(parts: Parts, path: str, inner: IResource) -> IResource:
    only = parts.config.tree[path][-1] == "proxy" and len(parts.servers) == 1
    return Limiter(inner, parts.accounts, parts.servers[0].gate if only else None, parts.clock)


def _turnstile(parts: Parts, server: Server, inner: IResource) -> IResource:
    return Turnstile(inner, parts.accounts, server.gate, parts.clock)


def _validation(parts: Parts, server: Server, inner: IResource) -> IResource:
    config, limits = parts.config, parts.config.limits
    return Validation(
        inner,
        server.models,
        TokenCounter(server.upstream, parts.clock, config.timeouts.first_byte),
        BodyLimits(limits.choices, limits.remote_media, frozenset(limits.refused_fields)),
        server.budget,
        limits.body.cap,
        config.usage.ask_upstream,
        parts.meters,
    )


def _proxy(parts: Parts, server: Server) -> IResource:
    return Proxy(
        server.upstream,
        parts.catalogue,
        parts.config.limits.body.cap,
        parts.config.timeouts.idle,
        ProxyWitness(parts.meters, parts.followers, parts.clock, _vocabulary(parts.config)),
    )


def _vocabulary(config: Config) -> Vocabulary:
    told = config.telemetry
    return Vocabulary(frozenset(told.tools), frozenset(told.memory_tools), frozenset(told.memory_events))


def _readiness(parts: Parts, path: str) -> IResource:
    return Readiness(parts.probes, parts.conveyance)


def _codex(parts: Parts, path: str) -> IResource:
    make = "hadesgw.resources.codex_leaves.make_codex"
    warrant, standing = _warrants(parts).of, parts.clients.standing
    return _late(
        parts,
        lambda: namedAny(make)(parts.config, path, parts.sessions(), warrant, standing, parts.seats, parts.receipts),
    )


def _codex_socket(parts: Parts, path: str) -> IResource:
    make = "hadesgw.resources.codex_leaves.make_codex_socket"
    warrant = _warrants(parts).of
    return _late(
        parts,
        lambda: namedAny(make)(parts.config, parts.sessions(), warrant, parts.seats, parts.receipts, parts.clock),
    )


def _late(parts: Parts, make: Callable[[], IResource]) -> IResource:
    """A leaf of coding sessions: without a workspace there will be none, so it waits for somebody to ask."""
    return make() if parts.config.sessions.workspaces else Late(make)


def _warrants(parts: Parts) -> Warrants:
    return Warrants(parts.clients, Role.USER, parts.wall)


def _admin(parts: Parts, path: str) -> IResource:
    return Admin(parts.clients, partial(_limits, parts), parts.log)


def _limits(parts: Parts) -> object:
    """What is in force, for an operator to see."""
    config = parts.config
    upstreams = [
        {
            "name": upstream.name,
            "max_in_flight": upstream.max_in_flight,
            "context_tokens": server.budget.context_tokens,
            "output_tokens": server.budget.output_tokens,
            "free": server.gate.slots.free,
            "waiting": server.gate.slots.depth,
        }
        for upstream, server in zip(config.upstream, parts.servers, strict=True)
    ]
    return {"limits": config.limits, "timeouts": config.timeouts, "upstreams": upstreams}


def _webclient(parts: Parts, path: str) -> IResource:
    built = read_files(files("hadesgw") / "webclient_dist")
    return WebClient(built, page_settings(parts.config), parts.config.webclient.connect)


LAYERS: Mapping[str, Callable[[Parts, str, IResource], IResource]] = {
    "metered": _metered,
    "cors": _cors,
    "guard": _guard,
    "limiter": _limiter,
    "validation": lambda parts, path, inner: _validation(parts, parts.servers[0], inner),
}
_OWN: Mapping[str, Callable[[Parts, Server, IResource], IResource]] = {
    "limiter": _turnstile,
    "validation": _validation,
}
"""What becomes of a layer behind the choice of a model server, where that is one server's own."""
LEAVES: Mapping[str, Callable[[Parts, str], IResource]] = {
    "proxy": lambda parts, path: _proxy(parts, parts.servers[0]),
    "metrics": lambda parts, path: Metrics(parts.registry, parts.probes),
    "health": lambda parts, path: Health(),
    "readiness": _readiness,
    "ticket": lambda parts, path: TicketOffice(parts.tickets, parts.clock, _warrants(parts).of),
    "admin": _admin,
    "codex": _codex,
    "codex-socket": _codex_socket,
    "hermes": lambda parts, path: Discovery(__version__),
    "sdk": lambda parts, path: Sdk(read_files(files("hadesgw") / "sdk")),
    "webclient": _webclient,
}
_ROLES: Mapping[str, Role] = {"metrics": Role.OBSERVER, "admin": Role.ADMIN}
"""The least role that a guard before a leaf asks for, where it is not `user`."""
_NEVER_OPEN = frozenset(("admin", "codex", "codex-socket", "metrics", "ticket"))
"""Leaves that mean nothing, or too much, without a guard before them. (A scraper has `metrics.listen`.)"""
_FIXED_ROUTES: Mapping[str, Iterable[bytes]] = {"proxy": (*ROUTES, MODELS_ROUTE), "webclient": (b"/",)}
"""Leaves that answer at fixed paths only: mounted where none of these lies, they could never be reached."""


def check_tree(config: Config) -> None:
    """See that the configured tree can be built.

    :raises ConfigError: for a layer nobody knows, a leaf that is not last or missing, a limiter that cannot know whom
        it limits, a cors layer that no preflight reaches, a leaf that is not for everybody and has no guard, or one
        that cannot be reached where it stands. (That none is named twice, the configuration has seen to.)
    """
    for path, layers in config.tree.items():
        key = f'tree."{path}"'
        for name in layers:
            if name not in LAYERS and name not in LEAVES:
                known = ", ".join(sorted({*LAYERS, *LEAVES}))
                raise ConfigError(config.source, key, f"layers out of {known}; {name!r} is none of them")
        for name in layers[:-1]:
            if name in LEAVES:
                raise ConfigError(config.source, key, f"{name!r} to be the last, because it answers itself")
        if "guard" in layers and "limiter" in layers[: layers.index("guard")]:
            raise ConfigError(config.source, key, "'guard' before 'limiter', which limits each client by itself")
        if "validation" in layers and {"guard", "limiter"} & set(layers[layers.index("validation") :]):
            raise ConfigError(config.source, key, "'validation' behind 'guard' and 'limiter': it reads whole bodies")
        if "guard" in layers and "cors" in layers[layers.index("guard") :]:
            raise ConfigError(config.source, key, "'cors' before 'guard', since no preflight brings a credential")
        leaf = layers[-1]
        if leaf not in LEAVES:
            leaves = ", ".join(sorted(LEAVES))
            raise ConfigError(config.source, key, f"a leaf as the last layer ({leaves}), got {leaf!r}")
        if leaf in _NEVER_OPEN and "guard" not in layers:
            raise ConfigError(config.source, key, f"'guard' before {leaf!r}, which is not for everybody")
        routes = _FIXED_ROUTES.get(leaf)
        if routes is not None and not any(_below(route, path.encode("ascii")) for route in routes):
            example = "/" if leaf == "webclient" else "/v1"
            raise ConfigError(config.source, key, f'a path at which {leaf!r} can be reached, such as "{example}"')


def build_tree(parts: Parts) -> PathTable:
    """The root resource of a tree that :func:`check_tree` has passed."""
    return PathTable({path.encode("ascii"): _built(parts, path) for path in parts.config.tree})


def _built(parts: Parts, path: str) -> IResource:
    *layers, leaf = parts.config.tree[path]
    if leaf == "proxy" and len(parts.servers) > 1:
        resource, layers = _parting(parts, path, layers)
    else:
        resource = LEAVES[leaf](parts, path)
    for name in reversed(layers):
        resource = LAYERS[name](parts, path, resource)
    return resource


def _parting(parts: Parts, path: str, layers: list[str]) -> tuple[IResource, list[str]]:
    """The choice between the model servers, each with what is its own behind it, and the layers that stand before.

    A limiter is before it with what it does by client alone: nobody's body is read whose rate has not been seen to.
    """
    at = next((at for at, name in enumerate(layers) if name in _OWN), len(layers))
    ways = []
    for server in parts.servers:
        resource = _proxy(parts, server)
        for name in reversed(layers[at:]):
            resource = _OWN[name](parts, server, resource) if name in _OWN else LAYERS[name](parts, path, resource)
        ways.append(Way(server.models, resource))
    limiter = [name for name in layers[at:] if name == "limiter"]
    return Choice(ways, parts.config.limits.body.cap), layers[:at] + limiter


def _below(path: bytes, mount: bytes) -> bool:
    return path == mount or path.startswith(mount.rstrip(b"/") + b"/")


class PathTable(Resource):
    """The root: finds the resource that owns a path.

    :param resources: by path, without a slash at the end but for "/" itself.
    """

    def __init__(self, resources: Mapping[bytes, IResource]) -> None:
        Resource.__init__(self)
        self._resources = resources
        self._nothing = Nothing()
        self._owner = lru_cache(256)(self._find_owner)  # clients ask for the same few paths

    @property
    def paths(self) -> list[str]:
        """Every path that somebody owns."""
        return [path.decode("ascii") for path in self._resources]

    def getChildWithDefault(self, segment: bytes, request: Request) -> IResource:
        """The owner of the request's path; `prepath` and `postpath` are set to what it owns and what is left."""
        resource, owned = self._owner(request.path)
        if resource is None:
            return self._nothing
        segments = request.path[1:].split(b"/")
        request.prepath, request.postpath = segments[:owned], segments[owned:]
        return resource

    def _find_owner(self, path: bytes) -> tuple[IResource | None, int]:
        """Who owns `path`, and how many of its segments that is."""
        while True:
            resource = self._resources.get(path)
            if resource is not None:
                return resource, path.count(b"/") if path != b"/" else 0
            if path == b"/":
                return None, 0
            path = path[: path.rindex(b"/")] or b"/"


class Nothing(Resource):
    """What is at every path nobody owns."""

    isLeaf = True

    def render(self, request: Request) -> int:
        """404, in JSON."""
        return request.refuse(refusals.NOT_FOUND)
