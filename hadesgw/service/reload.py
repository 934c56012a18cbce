"""Taking up what has changed on disk while serving: all of it that can be, or nothing."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import Any

import msgspec
from msgspec import Struct

from hadesgw.config import Config
from hadesgw.interfaces import IRequestLog
from hadesgw.policy.certificates import CertificateError
from hadesgw.policy.credentials import ClientDirectory, ClientStore
from hadesgw.service.tls import Credentials, TlsServer


class Fresh(Struct, frozen=True):
    """What a start would begin with now.

    :ivar clients: None if they came from where nothing can be read twice.
    :ivar tls: None without TLS.
    """

    config: Config
    clients: ClientDirectory | None
    tls: Credentials | None


class ReloadRefused(Exception):
    """Something on disk is not as it must be; the text says what, and nothing has changed."""


class Reload:
    """Exchanges clients and certificates for those on disk.

    The rest of the configuration is read and judged as well, so that a mistake is told now and not at the next start;
    what has changed in it is told by its keys, and takes a restart.

    :param read: reads and judges everything, as a start does; raises :class:`ReloadRefused`.
    :param running: the configuration in force.
    :param tls: of the listeners, if they have any.
    """

    def __init__(
        self,
        read: Callable[[], Fresh],
        running: Config,
        clients: ClientStore,
        tls: TlsServer | None,
        log: IRequestLog,
    ) -> None:
        self._read = read
        self._running = running
        self._clients = clients
        self._tls = tls
        self._log = log

    def __call__(self) -> Mapping[str, object]:
        """Do it.

        :returns: how many clients there are now, and the keys that wait for a restart.
        :raises ReloadRefused: if anything is wrong; then nothing has changed.
        """
        try:
            fresh = self._read()
            if self._tls is not None and fresh.tls is not None:
                self._use(self._tls, fresh.tls)
        except ReloadRefused as refused:
            self._log.event("reload_refused", "error", reason=str(refused))
            raise
        if fresh.clients is not None:
            self._clients.replace(fresh.clients)
        waiting = sorted(differences(self._running, fresh.config))
        count = len(self._clients.directory)
        self._log.event("reloaded", "warn" if waiting else "info", clients=count, restart_for=waiting)
        return {"clients": count, "restart_for": waiting}

    def _use(self, server: TlsServer, credentials: Credentials) -> None:
        """Last of all that can fail, and all or nothing by itself."""
        try:
            server.use(credentials)
        except CertificateError as error:
            raise ReloadRefused(f"tls: expected {error}") from None


class ReloadSignal:
    """Has SIGHUP do what `hadesgw reload` asks for, and SIGUSR1 nothing: recipes that rotate logs send it, and by
    itself it kills.

    :param reactor: of type IReactorFromThreads.
    """

    def __init__(self, reactor: Any, reload: Callable[[], object]) -> None:
        self._reactor = reactor
        self._reload = reload

    def install(self) -> None:
        """Take both over."""
        signal.signal(signal.SIGHUP, lambda number, frame: self._reactor.callFromThread(self._act))
        signal.signal(signal.SIGUSR1, lambda number, frame: None)

    def _act(self) -> None:
        with suppress(ReloadRefused):  # the log has told it
            self._reload()


def differences(running: Config, fresh: Config) -> Iterator[str]:
    """The keys whose values differ, by their paths in the file."""
    yield from _unequal("", msgspec.to_builtins(running), msgspec.to_builtins(fresh))


def _unequal(path: str, here: Any, there: Any) -> Iterator[str]:
    if isinstance(here, dict) and isinstance(there, dict):
        for name in here.keys() | there.keys():
            yield from _unequal(f"{path}.{name}" if path else str(name), here.get(name), there.get(name))
    elif here != there:
        yield path
