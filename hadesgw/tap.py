"""The composition root: `twistd hadesgw` and `twist hadesgw` begin here, and every part is made and joined here."""

from __future__ import annotations

import gc
import os
import random
import sys
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import ClassVar, NoReturn

from prometheus_client import CollectorRegistry, disable_created_metrics
from twisted.application.service import IService, MultiService
from twisted.internet import reactor as global_reactor
from twisted.internet.endpoints import UNIXClientEndpoint
from twisted.internet.threads import deferToThread
from twisted.logger import ILogObserver
from twisted.python import usage
from twisted.python.components import Componentized
from twisted.python.reflect import namedAny

from hadesgw import __version__
from hadesgw.config import Config, ConfigError
from hadesgw.http.agent import Agent
from hadesgw.http.body import MemoryShare
from hadesgw.http.framing import AllowedHosts, HeadLimits
from hadesgw.http.site import Site
from hadesgw.policy.correlation import Correlator, uuid4_source
from hadesgw.policy.credentials import ClientsError, ClientStore
from hadesgw.policy.listening import parse_listener
from hadesgw.policy.session_tokens import SessionTokens
from hadesgw.resources.metrics import Metrics
from hadesgw.service.census import census
from hadesgw.service.control import Control, ControlRefused, control_path
from hadesgw.service.engine_makers import Engines
from hadesgw.service.gateway import Gateway, Termination
from hadesgw.service.late_sessions import LateSessions
from hadesgw.service.listeners import make_listener
from hadesgw.service.processes import listeners
from hadesgw.service.reload import Fresh, Reload, ReloadRefused, ReloadSignal
from hadesgw.service.scraping import Scraping
from hadesgw.service.start import (
    StartRefused,
    judge_places,
    lets_anybody_in,
    load_clients,
    load_tls,
    read_again,
    read_config,
    summary,
)
from hadesgw.service.surplus import SurplusWatch
from hadesgw.service.tls import TlsServer
from hadesgw.service.turns import turns_of
from hadesgw.telemetry.followers import Followers
from hadesgw.telemetry.log import Log, Sink
from hadesgw.telemetry.meters import Meters
from hadesgw.telemetry.witness import SideWitness, Witness
from hadesgw.tree import Parts, PathTable, build_tree


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
            self._cast(read_config(self["config"], self["log-format"]))
            self.tls = load_tls(self.config)
            if self["check"]:
                judge_places(self.config)
        except (ConfigError, ClientsError, StartRefused) as error:
            _exit(str(error))
        if self["check"]:
            sys.stdout.write(summary(self.config, self.clients) + "\n")
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
            self.config, self.clients = config, load_clients(config, os.environ)


def _exit(message: str) -> NoReturn:
    sys.stderr.write(f"hadesgw: {message}\n")
    raise SystemExit(1)


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
        from hadesgw.service.tracing import trace  # only who traces pays for it

        trace(options.config, global_reactor, gateway, followers)
    if options.config.hermes.url:
        _make_registration(options, gateway).setServiceParent(services)
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
    source = config.source if options["config"] is None else str(Path(options["config"]).resolve())
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
            "configuration": source,
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


def _make_registration(options: Options, gateway: Gateway) -> IService:
    from hadesgw.service.registration import make_registration  # only who registers pays for it

    return make_registration(options.config, global_reactor, lambda: gateway.url, options.log, time.time, random.random)


def _read_again(options: Options) -> Fresh:
    """What is on disk now.

    :raises ReloadRefused: if a start would be refused.
    """
    if options.opening is not None:
        raise ReloadRefused("a demo has nothing to reload: its clients and its model are its own")
    return read_again(options["config"], options["log-format"])


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
    engines = Engines(config, reactor, os.environ)
    reactor.callWhenRunning(engines.begin, log)
    reactor.addSystemEventTrigger("after", "shutdown", engines.close)
    tokens = SessionTokens(clients.standing, os.urandom)
    sessions = LateSessions(
        lambda: namedAny("hadesgw.service.sessions.make_sessions")(
            config,
            reactor,
            engines=engines,
            tokens=tokens,
            clients=clients,
            own_url=lambda: gateway.own_url,
            meter=meters,
            log=log,
        )
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
        agents=tokens,
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
    anonymous = lets_anybody_in(config)
    places = [make_listener(entry, reactor, tls, anonymous=anonymous) for entry in config.server.listen]
    watch = SurplusWatch(reactor, listeners, deferToThread, os.getpid, meters, log)
    gateway = Gateway(reactor, site, places, watch, agents, log, config.timeouts.drain, sessions)
    return gateway


def _names(config: Config) -> list[str]:
    """The host names answered for beside loopback's: those configured, and the interfaces listened on."""
    interfaces = [parse_listener(description).interface for description in config.server.listen]
    return [*config.server.names, *(f"[{name}]" if ":" in name else name for name in interfaces if name)]
