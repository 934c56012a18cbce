"""The composition root: `twistd hadesgw` and `twist hadesgw` begin here, and every part is made and joined here."""

from __future__ import annotations

import gc
import os
import random
import sys
import time
from collections.abc import Mapping, MutableMapping
from datetime import UTC, datetime
from functools import partial
from importlib import import_module
from typing import Any, ClassVar, NoReturn

import msgspec
from prometheus_client import CollectorRegistry, disable_created_metrics
from twisted.application.service import IService, MultiService
from twisted.internet import reactor as global_reactor
from twisted.internet.endpoints import UNIXClientEndpoint
from twisted.internet.threads import deferToThread
from twisted.logger import ILogObserver
from twisted.python import usage
from twisted.python.components import Componentized

from hadesgw import __version__
from hadesgw.config import Config, ConfigError, clients_source, load
from hadesgw.http.agent import Agent
from hadesgw.http.body import MemoryShare
from hadesgw.http.framing import AllowedHosts, HeadLimits
from hadesgw.http.site import Site
from hadesgw.policy.correlation import Correlator, uuid4_source
from hadesgw.policy.credentials import (
    ClientDirectory,
    ClientsError,
    ClientStore,
    Role,
    anonymous_client,
    parse_clients,
    read_clients,
)
from hadesgw.policy.exposure import Exposed
from hadesgw.policy.listening import parse_listener
from hadesgw.policy.service_card import service_card
from hadesgw.resources.metrics import Metrics
from hadesgw.service.aider import make_aider
from hadesgw.service.census import census
from hadesgw.service.codex import make_codex, try_codex
from hadesgw.service.control import Control, ControlRefused, control_path
from hadesgw.service.gateway import Gateway, Termination
from hadesgw.service.listeners import ListenerRefused, judge_unopened, make_listener, wanted_places
from hadesgw.service.processes import listeners
from hadesgw.service.reload import Fresh, Reload, ReloadRefused, ReloadSignal
from hadesgw.service.scraping import Scraping
from hadesgw.service.sessions import make_sessions, rehearsal_engine
from hadesgw.service.surplus import Surplus, SurplusWatch, compare_running
from hadesgw.service.tls import Credentials, TlsServer, load_credentials
from hadesgw.service.turns import turns_of
from hadesgw.sessions.engine import IEngine
from hadesgw.telemetry.followers import Followers
from hadesgw.telemetry.log import Log, Sink
from hadesgw.telemetry.meters import Meters
from hadesgw.telemetry.witness import SideWitness, Witness
from hadesgw.tree import Parts, PathTable, build_tree, check_tree


class Options(usage.Options):
    """Command line of `twistd hadesgw`."""

    synopsis = "[--config FILE] [--check] [--demo [--script FILE | --gguf FILE]] [--log-format json|text]"
    longdesc = "The front door of a vLLM server that listens only on a UNIX socket."
    optParameters: ClassVar = [  # noqa: N815 - Twisted's name, as the next
        ["config", "c", None, "Configuration file; without it the built-in defaults apply."],
        ["log-format", None, None, "json or text; without it the configuration decides."],
        ["script", None, None, "With --demo: what the rehearsal model says, as a TOML file."],
        ["gguf", None, None, "With --demo: a real small model in place of the rehearsal (extra: local)."],
    ]
    optFlags: ClassVar = [  # noqa: N815
        ["check", None, "Check the configuration and the clients, say what was found, and exit."],
        ["demo", None, "Serve a rehearsal model of our own, with a fresh client, and print how to use it."],
    ]

    def postOptions(self) -> None:
        """Read the configuration while an error can still be one line and an exit status."""
        try:
            config = load(self["config"])
            if self["log-format"] is not None:
                config = _with_log_format(config, self["log-format"])
            check_tree(config)
            _require_otel(config)
            self._cast(config)
            self.tls = _load_tls(self.config)
            if self["check"]:
                _judge_places(self.config)
        except (ConfigError, ClientsError, StartRefused) as error:
            _exit(str(error))
        if self["check"]:
            sys.stdout.write(_summary(self.config, self.clients) + "\n")
            raise SystemExit(0)
        self.log = _make_log(self.config)
        if self.parent is not None:
            self.parent["fileLogObserverFactory"] = lambda file: self.log  # how `twist` takes an observer

    def _cast(self, config: Config) -> None:
        """Decide who plays: the configured model and clients, or the rehearsal's."""
        if self["demo"]:
            from hadesgw.demo.opening import Opening, OpeningRefused  # only a demo pays for it

            try:
                self.opening: Opening | None = Opening(config, self["script"], self["gguf"])
            except OpeningRefused as error:
                raise StartRefused(str(error)) from None
            self.config, self.clients = self.opening.config, self.opening.clients
        elif self["script"] is not None or self["gguf"] is not None:
            raise StartRefused("--script and --gguf are for --demo: say that too, or leave them out")
        else:
            self.opening = None
            self.config, self.clients = config, _load_clients(config, os.environ)


class StartRefused(Exception):
    """The gateway must not start like this; the text says why and what to do."""


def _exit(message: str) -> NoReturn:
    sys.stderr.write(f"hadesgw: {message}\n")
    raise SystemExit(1)


def check(path: str | None, pid: int | None) -> str:
    """Judge a configuration as a start would, as far as that can be done without listening.

    :param path: of the file; None for the built-in defaults.
    :param pid: of a gateway that runs with it, to see that it listens as configured and nowhere else; or None.
    :returns: one line that says what was found.
    :raises ConfigError, ClientsError, StartRefused: for the first thing that is wrong, as one line.
    """
    config = load(path)
    check_tree(config)
    clients = _load_clients(config, os.environ)
    _load_tls(config)
    _judge_places(config)
    return _summary(config, clients) if pid is None else _compare_with_process(config, pid)


def _judge_places(config: Config) -> None:
    """:raises StartRefused: for a listener that others can reach who must not."""
    try:
        for description in config.server.listen:
            judge_unopened(description, anonymous=bool(config.clients.anonymous))
    except Exposed as exposed:
        raise StartRefused(str(exposed)) from None


def _compare_with_process(config: Config, pid: int) -> str:
    """:raises StartRefused: if a gateway that runs listens otherwise than configured, or cannot be looked at."""
    try:
        held = listeners(pid)
        compare_running(pid, held, [place for entry in config.server.listen for place in wanted_places(entry)])
    except (ListenerRefused, Surplus) as error:
        raise StartRefused(str(error)) from None
    except OSError as error:
        raise StartRefused(f"cannot see what process {pid} listens on: {error.strerror}") from None
    places = ", ".join(sorted(str(socket.address) for socket in held)) or "no TCP address"
    return f"process {pid} listens on {places} and nowhere else, as {config.source} says"


def _summary(config: Config, store: ClientStore) -> str:
    listeners = ", ".join(config.server.listen)
    upstreams = ", ".join(f"{upstream.name} at {upstream.socket}" for upstream in config.upstream)
    return (
        f"{config.source}: good; {len(store.directory)} client(s), {len(config.tree)} path(s),"
        f" listening on {listeners}, serving {upstreams}"
    )


def _with_log_format(config: Config, log_format: str) -> Config:
    if log_format not in ("json", "text"):
        raise StartRefused(f"--log-format: expected json or text, got {log_format!r}")
    return msgspec.structs.replace(config, log=msgspec.structs.replace(config.log, format=log_format))


def _load_clients(config: Config, environ: MutableMapping[str, str]) -> ClientStore:
    """The clients, from where the configuration and the environment say.

    :raises StartRefused: if there are none, and none is needed for a TCP listener to be safe.
    """
    source = clients_source(config, environ)
    environ.pop("HADESGW_CLIENTS", None)  # no child shall inherit it
    if source.path:
        directory = read_clients(source.path, environ.get("CREDENTIALS_DIRECTORY"))
    elif source.text:
        directory = parse_clients(source.text, "$HADESGW_CLIENTS")
    else:
        directory = ClientDirectory(())
    role = config.clients.anonymous
    anonymous = anonymous_client(Role[role.upper()]) if role else None
    if not len(directory) and anonymous is None:
        raise StartRefused(
            "there is no client, so nobody could come in; make one with:"
            f" hadesgw token new NAME --append --file {config.clients.file or 'clients.toml'}"
        )
    return ClientStore(directory, anonymous)


def _require_otel(config: Config) -> None:
    """:raises StartRefused: if traces are wanted, and what makes them is not installed."""
    try:
        if config.otel.endpoint:
            import_module("hadesgw.telemetry.trace")
    except ModuleNotFoundError:
        told = "otel.endpoint: traces need an extra that is not installed: pip install 'hadesgw[otel]'"
        raise StartRefused(told) from None


def _load_tls(config: Config) -> Credentials | None:
    return load_credentials(config.tls, config.source, os.environ.get("CREDENTIALS_DIRECTORY"), datetime.now(UTC))


def _make_log(config: Config) -> Log:
    sink = Sink(sys.stdout.fileno() if hasattr(sys.stdout, "fileno") else 1)
    return Log(sink, time.time, text=config.log.format == "text", level=config.log.level)


# -- Joining the parts -------------------------------------------------------------------------------------------------


def makeService(options: Options) -> IService:
    """The gateway, as `twistd` wants it."""
    _use_monotonic_time()
    turns = turns_of(global_reactor, time.monotonic)
    if turns is not None:
        turns.take_over()
    followers = Followers()
    tls = None if options.tls is None else TlsServer(options.tls)
    services = _Services(options.log)
    gateway = _make_gateway(options.config, options.clients, tls, options.log, followers, services)
    global_reactor.callWhenRunning(Termination(global_reactor, gateway.hurry).install)
    gateway.setServiceParent(services)
    _make_control(options, gateway, tls, followers).setServiceParent(services)
    if options.config.otel.endpoint:
        _trace(options.config, gateway, followers)
    if options.config.hermes.url:
        _make_hermes(options, gateway).setServiceParent(services)
    if options.opening is not None:
        options.opening.service(global_reactor, gateway).setServiceParent(services)
    gc.freeze()  # what was built to serve is never garbage: spare every later collection the walk over it
    gc.set_threshold(50_000, 20, 100)  # a request leaves no cycles behind, so looking for them rarely is enough
    return services


class _Services(MultiService):
    """All services of the process.

    :param log: observes what Twisted and its libraries log, in place of the runner's own format.
    """

    def __init__(self, log: Log) -> None:
        MultiService.__init__(self)
        self._log = log

    def setServiceParent(self, parent: Componentized) -> None:
        """Join the application: this is where `twistd` takes an observer, before it begins to log."""
        MultiService.setServiceParent(self, parent)
        parent.setComponent(ILogObserver, self._log)


def _use_monotonic_time() -> None:
    """Let timers run by a clock that nobody sets: Twisted's reactor takes the wall's, and every deadline with it."""
    global_reactor.seconds = time.monotonic  # type: ignore[method-assign]


def _make_control(options: Options, gateway: Gateway, tls: TlsServer | None, followers: Followers) -> Control:
    """The control socket, and SIGHUP, which asks for one of the things that it can be asked for."""
    config, log = options.config, options.log
    reload = Reload(lambda: _read_again(options), config, options.clients, tls, log)
    global_reactor.callWhenRunning(ReloadSignal(global_reactor, reload).install)

    def reload_on_demand() -> Mapping[str, object]:
        try:
            return reload()
        except ReloadRefused as refused:
            raise ControlRefused(str(refused)) from None

    def status() -> Mapping[str, object]:
        return {
            "version": __version__,
            "pid": os.getpid(),
            "configuration": config.source,
            "clients": len(options.clients.directory),
            **gateway.status(),
        }

    return Control(
        global_reactor,
        control_path(config.server.control, os.environ),
        {"census": lambda: census(global_reactor), "reload": reload_on_demand, "status": status},
        followers,
        log,
        demanded=bool(config.server.control),
    )


def _trace(config: Config, gateway: Gateway, followers: Followers) -> None:
    """Follow requests with spans, and send off the last when the last request has been served."""
    from hadesgw.telemetry.trace import Tracing, exporting

    tracing = Tracing(exporting(config.otel.endpoint), config.otel.service_name, config.otel.sampled)
    followers.add(tracing)
    gateway.at_last(lambda: deferToThread(tracing.provider.shutdown))


def _make_hermes(options: Options, gateway: Gateway) -> IService:
    from twisted.web.client import Agent as HttpAgent

    from hadesgw.service.hermes_client import HermesClient  # only who registers pays for it

    config = options.config.hermes

    def card() -> dict[str, Any]:
        return service_card(__version__, config.endpoint.rstrip("/") or gateway.url)

    agent = HttpAgent(global_reactor, connectTimeout=options.config.timeouts.connect)
    return HermesClient(global_reactor, agent, config.url, card, options.log, time.time, random.random)


def _read_again(options: Options) -> Fresh:
    """What is on disk now, judged as a start judges it.

    :raises ReloadRefused: if a start would be refused.
    """
    if options.opening is not None:
        raise ReloadRefused("a demo has nothing to reload: its clients and its model are its own")
    try:
        config = load(options["config"])
        if options["log-format"] is not None:
            config = _with_log_format(config, options["log-format"])
        check_tree(config)
        _judge_places(config)
        from_file = clients_source(config, os.environ).path
        clients = _load_clients(config, os.environ).directory if from_file else None
        return Fresh(config, clients, _load_tls(config))
    except (ConfigError, ClientsError, StartRefused) as error:
        raise ReloadRefused(str(error)) from None


def _make_gateway(
    config: Config,
    clients: ClientStore,
    tls: TlsServer | None,
    log: Log,
    followers: Followers,
    services: MultiService,
) -> Gateway:
    reactor = global_reactor
    disable_created_metrics()  # a second series for each counter, which nobody graphs
    registry = CollectorRegistry()
    meters = Meters(registry)
    log.sink.on_drop(meters.lines_dropped)
    agents = [
        Agent(
            upstream.name,
            reactor,
            UNIXClientEndpoint(reactor, upstream.socket),
            random=random.random,
            connect_seconds=config.timeouts.connect,
            first_byte_seconds=config.timeouts.first_byte,
            head_limit=config.limits.response_head.bytes,
        )
        for upstream in config.upstream
    ]
    sessions = make_sessions(
        config,
        reactor,
        engines=_engines(reactor, config, log),
        clients=clients,
        own_url=lambda: gateway.own_url,
        meter=meters,
        log=log,
    )
    parts = Parts(
        config=config,
        clock=reactor,
        wall=time.time,
        clients=clients,
        upstreams=list(agents),
        meters=meters,
        registry=registry,
        log=log,
        followers=followers,
        sessions=sessions,
        entropy=os.urandom,
    )
    make_site = partial(
        Site,
        clock=reactor,
        correlator=Correlator(config.headers.request_id, config.headers.session_id, uuid4_source(os.urandom)),
        hosts=AllowedHosts(_names(config)),
        origins=parts.origins,
        head_limits=HeadLimits(total=config.limits.head.bytes, fields=config.limits.head.fields),
        body_memory=MemoryShare(config.limits.body.memory),
        timeouts=config.timeouts,
        max_connections=config.limits.connections,
        half_close=config.server.half_close == "answer",
    )
    site = make_site(build_tree(parts), observer=Witness(meters, log, parts.conveyance))
    if config.metrics.listen:
        meters_only = PathTable({b"/metrics": Metrics(registry, parts.probes)})
        side = make_site(meters_only, observer=SideWitness(meters, log, parts.conveyance))
        place = make_listener(config.metrics.listen, reactor, None, anonymous=False)
        Scraping(side, place, log).setServiceParent(services)
    reactor.callWhenRunning(parts.conveyance.announce)
    if tls is not None:
        meters.certificate_shown(lambda: tls.expires.timestamp() - time.time())
    anonymous = bool(config.clients.anonymous)
    places = [make_listener(entry, reactor, tls, anonymous=anonymous) for entry in config.server.listen]
    watch = SurplusWatch(reactor, listeners, deferToThread, os.getpid, meters, log)
    gateway = Gateway(reactor, site, places, watch, agents, log, config.timeouts.drain, sessions)
    return gateway


def _engines(reactor: Any, config: Config, log: Log) -> dict[str, IEngine]:
    """The engines there are, by their names in the configuration."""
    codex = make_codex(config, reactor, os.environ)
    reactor.callWhenRunning(try_codex, codex, config, log)
    aider = make_aider(config, reactor, os.environ)
    for engine in (codex, aider):
        reactor.addSystemEventTrigger("after", "shutdown", engine.close)
    engines: dict[str, IEngine] = {codex.name: codex, aider.name: aider}
    if config.sessions.engine == "rehearsal":  # it plays: nobody shall have that in place of work
        engines["rehearsal"] = rehearsal_engine(reactor)
    return engines


def _names(config: Config) -> list[str]:
    """The host names answered for beside loopback's: those configured, and the interfaces listened on."""
    interfaces = [parse_listener(description).interface for description in config.server.listen]
    return [*config.server.names, *(f"[{name}]" if ":" in name else name for name in interfaces if name)]
