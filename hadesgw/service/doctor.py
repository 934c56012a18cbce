"""`hadesgw doctor`: looks at everything a gateway depends on, and says of each thing what was found and what to do.

It changes nothing, and needs no gateway to run. What a start would refuse is bad; what will hurt later is a warning.
"""

from __future__ import annotations

import ctypes
import errno
import os
import resource
import shlex
import socket
from collections.abc import Iterator, Mapping
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal

from msgspec import Struct

from hadesgw.config import Config, ConfigError, clients_source, load
from hadesgw.policy.credentials import Client, ClientDirectory, ClientsError, parse_clients, read_clients
from hadesgw.policy.exposure import Address, Exposed
from hadesgw.policy.listening import Listener, parse_listener
from hadesgw.service.control import ControlRefused, ask, control_path
from hadesgw.service.engines import Obstacle
from hadesgw.service.listeners import judge_unopened
from hadesgw.service.model_socket import look_at_model_server
from hadesgw.service.start import StartRefused, lets_anybody_in, require_otel
from hadesgw.service.tls import load_credentials
from hadesgw.tree import check_tree

SOON = timedelta(days=14)
"""What ends within that should be renewed now."""
_BYTES_OF_TOKEN = 3
"""Fewer bytes than a token of ordinary text has on average: a body cap below that many for each token is in the way."""


class Finding(Struct, frozen=True):
    """What was found of one thing.

    :ivar subject: what was looked at.
    :ivar remedy: what to do, if there is anything.
    """

    subject: str
    verdict: Literal["good", "warning", "bad"]
    told: str
    remedy: str = ""


class Patient(Struct, frozen=True, kw_only=True):
    """What the examination is given.

    :ivar path: of the configuration; None for the built-in one.
    :ivar engines: for each engine of coding sessions, what stands in its way, or None;
        :data:`hadesgw.service.engines.ENGINES`, but for tests.
    """

    path: str | None
    environ: Mapping[str, str]
    now: datetime
    engines: Mapping[str, Obstacle]


def examine(patient: Patient) -> Iterator[Finding]:
    """Look at everything, one thing after another; each is told as soon as it is known."""
    try:
        config = load(patient.path)
        check_tree(config)
    except ConfigError as error:
        yield Finding("configuration", "bad", str(error), "mend the file; docs/configuration.md has every key")
        return
    yield Finding("configuration", "good", f"{config.source}: {len(config.tree)} paths")
    yield from _clients(config, patient)
    yield from _tls(config, patient)
    running = _running(config, patient.environ)
    yield from _listeners(config, running)
    yield _gateway(config, running, patient)
    yield from _traces(config)
    for upstream in config.upstream:
        for verdict, told, remedy in look_at_model_server(config, upstream):
            yield Finding(f"upstream {upstream.name}", verdict, told, remedy)
    yield from _limits(config)
    yield _clock()
    yield from _engines(config, patient)


# -- Clients -----------------------------------------------------------------------------------------------------------


def _clients(config: Config, patient: Patient) -> Iterator[Finding]:
    try:
        source = clients_source(config, patient.environ)
        if source.path:
            directory = read_clients(source.path, patient.environ.get("CREDENTIALS_DIRECTORY"))
        else:
            directory = parse_clients(source.text, "$HADESGW_CLIENTS") if source.text else ClientDirectory(())
    except (ConfigError, ClientsError) as error:
        yield Finding("clients", "bad", str(error), "mend it; `hadesgw token` makes and takes out entries")
        return
    if config.clients.anonymous:
        told = f"whoever can connect is let in without a credential, as {config.clients.anonymous}"
        yield Finding("clients", "warning", told, "fine for a demo; else set clients.anonymous to empty")
    if not len(directory):
        if not config.clients.anonymous:
            command = f"hadesgw token new NAME --append --file {shlex.quote(config.clients.file or 'clients.toml')}"
            yield Finding("clients", "bad", "there is none, so nobody could come in", f"run: {command}")
        return
    yield Finding("clients", "good", f"{len(directory)} in {source.path or '$HADESGW_CLIENTS'}")
    for client in directory.clients:
        yield from _expiry(client, patient.now, source.path)


def _expiry(client: Client, now: datetime, path: str) -> Iterator[Finding]:
    """A client whose last token is about to end, or has ended.

    :param path: of the clients file; "" if the environment holds the clients.
    """
    if client.certificate is not None or not client.tokens:
        return
    ends = [token.expires for token in client.tokens]
    last = max((end for end in ends if end is not None), default=now)
    if None in ends or last > now + SOON:
        return
    word = "has no valid token any more" if last <= now else f"has no valid token after {last:%Y-%m-%d}"
    remedy = f"run: hadesgw token new {client.name} --rotate --file {shlex.quote(path)}"
    if not path:
        remedy = f"put a new token into $HADESGW_CLIENTS; to make one: hadesgw token new {client.name}"
    yield Finding("clients", "warning", f"{client.name} {word}", remedy)


# -- TLS, listeners, the gateway itself --------------------------------------------------------------------------------


def _tls(config: Config, patient: Patient) -> Iterator[Finding]:
    try:
        found = load_credentials(config.tls, config.source, patient.environ.get("CREDENTIALS_DIRECTORY"), patient.now)
    except ConfigError as error:
        yield Finding("tls", "bad", str(error), "renew the certificate, or mend the path; to try: hadesgw cert")
        return
    if found is None:
        yield Finding("tls", "good", "not configured: only loopback and UNIX sockets may be listened on")
        return
    left = found.identity.expires - patient.now
    told = f"the certificate fits its key and counts for {left.days} more days"
    if left <= SOON:
        yield Finding("tls", "warning", told, "renew it, then: hadesgw reload")
    else:
        yield Finding("tls", "good", told)


def _running(config: Config, environ: Mapping[str, str]) -> Mapping[str, object] | None:
    """What the gateway that runs says of itself, if one does."""
    try:
        return ask(control_path(config.server.control, environ), "status")
    except ControlRefused:
        return None


def _listeners(config: Config, running: Mapping[str, object] | None) -> Iterator[Finding]:
    for description in filter(None, [*config.server.listen, config.metrics.listen]):
        try:
            judge_unopened(description, anonymous=lets_anybody_in(config))
        except Exposed as exposed:
            yield Finding("listener", "bad", str(exposed), "docs/security.md tells the rule")
            continue
        if running is None:
            yield _place(description, parse_listener(description))
    if running is None and config.server.control:
        yield _place(f"server.control at {config.server.control}", Listener(kind="unix", path=config.server.control))


def _place(description: str, listener: Listener) -> Finding:
    """Whether a place could be listened on now."""
    taken = _path_taken(listener.path) if listener.path else _port_taken(listener)
    if taken is None:
        return Finding("listener", "good", f"{description} can be had")
    remedy = _path_remedy(listener.path, taken) if listener.path else _port_remedy(taken)
    return Finding("listener", "bad", f"{description} cannot be had: {taken}", remedy)


def _port_taken(listener: Listener) -> str | None:
    """Why the address cannot be bound now; None if it can, or is no address."""
    if not listener.port:
        return None
    try:
        place = Address.of(listener.interface or "0.0.0.0", listener.port)  # noqa: S104 - what no interface means
    except ValueError:  # a host name
        return None
    family = socket.AF_INET6 if place.host.version == 6 else socket.AF_INET
    try:
        with closing(socket.socket(family, socket.SOCK_STREAM)) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((str(place.host), listener.port))
    except OSError as error:
        return error.strerror or str(error)
    return None


def _port_remedy(taken: str) -> str:
    if taken == os.strerror(errno.EADDRINUSE):
        return "see who listens there: ss -lntp; end it, or set server.listen to another port"
    if taken == os.strerror(errno.EACCES):
        return "a port below 1024 takes root, or CAP_NET_BIND_SERVICE"
    return "set server.listen to an address of this machine"


def _path_taken(path: str) -> str | None:
    """Why no socket can be made there now; None if one can. A dead gateway's, whose lock is beside it, gives way."""
    folder = Path(path).parent
    if not folder.is_dir():
        return os.strerror(errno.ENOENT)
    if not os.access(folder, os.W_OK | os.X_OK):
        return os.strerror(errno.EACCES)
    if not os.path.lexists(path) or (Path(f"{path}.lock").is_symlink() and _is_left_behind(path)):
        return None
    return os.strerror(errno.EADDRINUSE)


def _is_left_behind(path: str) -> bool:
    """Whether there is a socket that nobody listens on."""
    if not Path(path).is_socket():
        return False
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as probe:
        probe.setblocking(False)
        return probe.connect_ex(path) == errno.ECONNREFUSED


def _path_remedy(path: str, taken: str) -> str:
    folder = shlex.quote(str(Path(path).parent))
    if taken == os.strerror(errno.ENOENT):
        return f"run: mkdir -p {folder}, and let the gateway's user write there"
    if taken == os.strerror(errno.EACCES):
        return f"let the gateway's user write into {folder}"
    return f"see who listens there: ss -lxp; end it, or, if nobody does, run: rm {shlex.quote(path)}"


def _traces(config: Config) -> Iterator[Finding]:
    """What makes traces, if any are wanted."""
    if config.otel.endpoint:
        try:
            require_otel(config)
        except StartRefused as refused:
            yield Finding("traces", "bad", str(refused), "run: pip install 'hadesgw[otel]'")
        else:
            yield Finding("traces", "good", f"sent to {config.otel.endpoint}, if a collector is there")


def _gateway(config: Config, running: Mapping[str, object] | None, patient: Patient) -> Finding:
    if running is None:
        place = control_path(config.server.control, patient.environ)
        return Finding("gateway", "good", f"none runs here that can be asked, at {place}")
    examined = config.source if patient.path is None else str(Path(patient.path).resolve())
    told = f"process {running.get('pid')} serves with {running.get('configuration')}"
    if running.get("configuration") != examined:
        return Finding("gateway", "warning", told, f"that is not {examined}: examine it by --config")
    return Finding("gateway", "good", told)


# -- Limits, clock, engines --------------------------------------------------------------------------------------------


def _limits(config: Config) -> Iterator[Finding]:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * config.limits.connections
    if soft < wanted:
        told = f"limits.connections = {config.limits.connections} may need {wanted} descriptors, here are {soft}"
        yield Finding("limits", "warning", told, "raise LimitNOFILE of the service, or ulimit -n; or lower the limit")
    context = max(config.tokens(upstream)[0] for upstream in config.upstream)
    cap = max(config.limits.body.default, *config.limits.body.routes.values(), 0)
    if cap < context * _BYTES_OF_TOKEN:
        told = f"no body may be larger than {cap} bytes, too small for {context} tokens of text"
        yield Finding("limits", "warning", told, "raise [limits.body], or lower the budget's context_tokens")
    if soft >= wanted and cap >= context * _BYTES_OF_TOKEN:
        yield Finding("limits", "good", f"{soft} descriptors, bodies up to {cap} bytes for {context} tokens")


class _Timex(ctypes.Structure):
    """The beginning of `struct timex`, adjtimex(2), and room for the rest of it."""

    _fields_ = (("modes", ctypes.c_uint), ("rest", ctypes.c_char * 512))


_UNSYNCHRONISED = 5  # TIME_ERROR


def _clock() -> Finding:
    """Expiry dates are only as good as the clock they are compared with."""
    try:
        state = ctypes.CDLL(None).adjtimex(ctypes.byref(_Timex()))
    except (OSError, AttributeError):
        state = -1
    if state == _UNSYNCHRONISED:
        told = "nobody keeps this machine's clock right: tokens and certificates may end early, or late"
        return Finding("clock", "warning", told, "start a time service: systemd-timesyncd, chrony")
    if state < 0:
        told = "the kernel does not say whether this machine's clock is kept right"
        return Finding("clock", "warning", told, "see: timedatectl")
    return Finding("clock", "good", "kept right by a time service")


def _engines(config: Config, patient: Patient) -> Iterator[Finding]:
    """What stands in the way of coding sessions, if any path leads to them."""
    if not any(layers[-1] in ("codex", "codex-socket") for layers in config.tree.values()):
        return
    for name, obstacle in patient.engines.items():
        if name == config.sessions.engine:
            told = obstacle(config, patient.environ)
            verdict: Literal["good", "warning"] = "good" if told is None else "warning"
            yield Finding(f"engine {name}", verdict, told or "ready", "")
    for name, folder in config.sessions.workspaces.items():
        if not Path(folder).is_dir():
            told = f"workspace {name}: {folder} is no folder"
            yield Finding("sessions", "bad", told, f"run: mkdir -p {shlex.quote(str(folder))}")
