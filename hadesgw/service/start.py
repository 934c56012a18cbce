"""What a start needs of the machine, read and judged before anything is opened: configuration, clients, certificates.

A reload and `--check` judge by the same rules.
"""

from __future__ import annotations

import os
from collections.abc import MutableMapping
from datetime import UTC, datetime
from importlib import import_module

import msgspec

from hadesgw.config import Config, ConfigError, clients_source, load
from hadesgw.policy.conveyance import unguarded
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
from hadesgw.service.listeners import ListenerRefused, judge_unopened, wanted_places
from hadesgw.service.processes import listeners
from hadesgw.service.reload import Fresh, ReloadRefused
from hadesgw.service.surplus import Surplus, compare_running
from hadesgw.service.tls import Credentials, load_credentials
from hadesgw.tree import check_tree


class StartRefused(Exception):
    """The gateway must not start like this; the text says why and what to do."""


def read_config(path: str | None, log_format: str | None) -> Config:
    """The configuration of a gateway that could be built.

    :param path: of the file; None for the built-in defaults.
    :param log_format: in place of the configured one, if it is not None.
    :raises ConfigError, StartRefused: for the first thing that is wrong, as one line.
    """
    config = load(path)
    if log_format is not None:
        if log_format not in ("json", "text"):
            raise StartRefused(f"--log-format: expected json or text, got {log_format!r}")
        config = msgspec.structs.replace(config, log=msgspec.structs.replace(config.log, format=log_format))
    check_tree(config)
    require_otel(config)
    return config


def read_again(path: str | None, log_format: str | None) -> Fresh:
    """What is on disk now, judged as a start judges it; arguments as :func:`read_config`.

    :raises ReloadRefused: if a start would be refused.
    """
    try:
        config = read_config(path, log_format)
        judge_places(config)
        from_file = clients_source(config, os.environ).path
        clients = load_clients(config, os.environ).directory if from_file else None
        return Fresh(config, clients, load_tls(config))
    except (ConfigError, ClientsError, StartRefused) as error:
        raise ReloadRefused(str(error)) from None


def check(path: str | None, pid: int | None) -> str:
    """Judge a configuration as a start would, as far as that can be done without listening.

    :param path: of the file; None for the built-in defaults.
    :param pid: of a gateway that runs with it, to see that it listens as configured and nowhere else; or None.
    :returns: one line that says what was found.
    :raises ConfigError, ClientsError, StartRefused: for the first thing that is wrong, as one line.
    """
    config = load(path)
    check_tree(config)
    require_otel(config)
    clients = load_clients(config, os.environ)
    load_tls(config)
    judge_places(config)
    return summary(config, clients) if pid is None else _compare_with_process(config, pid)


def summary(config: Config, store: ClientStore) -> str:
    """One line about what is good."""
    listeners = ", ".join(config.server.listen)
    upstreams = ", ".join(f"{upstream.name} at {upstream.socket}" for upstream in config.upstream)
    return (
        f"{config.source}: good; {len(store.directory)} client(s), {len(config.tree)} path(s),"
        f" listening on {listeners}, serving {upstreams}"
    )


def judge_places(config: Config) -> None:
    """See where would be listened, without opening anything; a host name is not looked up.

    :raises StartRefused: for a listener that others can reach who must not.
    """
    try:
        for description in config.server.listen:
            judge_unopened(description, anonymous=lets_anybody_in(config))
    except Exposed as exposed:
        raise StartRefused(str(exposed)) from None


def lets_anybody_in(config: Config) -> bool:
    """Whether something is done for who brings no credential: that is for this machine only."""
    return bool(config.clients.anonymous) or unguarded(config.tree)


def load_clients(config: Config, environ: MutableMapping[str, str]) -> ClientStore:
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


def load_tls(config: Config) -> Credentials | None:
    """The certificate and its key; None where none is configured."""
    return load_credentials(config.tls, config.source, os.environ.get("CREDENTIALS_DIRECTORY"), datetime.now(UTC))


def require_otel(config: Config) -> None:
    """:raises StartRefused: if traces are wanted, and what makes them is not installed."""
    try:
        if config.otel.endpoint:
            import_module("hadesgw.telemetry.trace")
    except ModuleNotFoundError:
        told = "otel.endpoint: traces need an extra that is not installed: pip install 'hadesgw[otel]'"
        raise StartRefused(told) from None


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
