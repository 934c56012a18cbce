"""The leaves of coding sessions, made of the configuration. They are in a module of their own to be loaded late."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IReactorTime

from hadesgw.config import Config
from hadesgw.http.site import Request
from hadesgw.http.websocket import SocketLimits
from hadesgw.policy.allowance import Rate
from hadesgw.policy.credentials import Client, Warrant
from hadesgw.policy.receipts import Receipts
from hadesgw.policy.seats import Seats
from hadesgw.resources.codex_calls import Acts
from hadesgw.resources.codex_http import Codex
from hadesgw.resources.codex_socket import CodexSocket
from hadesgw.sessions.registry import SessionRegistry


def make_codex(
    config: Config,
    path: str,
    sessions: SessionRegistry,
    warrant: Callable[[Request], Warrant],
    standing: Callable[[str], Client | None],
    seats: Seats,
    receipts: Receipts,
) -> Codex:
    """The leaf `codex`, mounted at `path`; the other arguments are those of :class:`Acts` and :class:`Codex`."""
    acts = Acts(sessions, warrant, seats, receipts, config.websocket.stall_seconds)
    return Codex(path, acts, standing, config.limits.body.cap)


def make_codex_socket(
    config: Config,
    sessions: SessionRegistry,
    warrant: Callable[[Request], Warrant],
    seats: Seats,
    receipts: Receipts,
    clock: IReactorTime,
) -> CodexSocket:
    """The leaf `codex-socket`; arguments as of :class:`CodexSocket`."""
    bounds = config.websocket
    limits = SocketLimits(
        message=bounds.message,
        frames=Rate(bounds.frames_per_second, bounds.frames_burst),
        unread=bounds.unread,
        ping_seconds=bounds.ping_seconds,
        pong_seconds=bounds.pong_seconds,
        stall_seconds=bounds.stall_seconds,
        close_seconds=bounds.close_seconds,
    )
    return CodexSocket(sessions, warrant, limits, seats, receipts, clock)
