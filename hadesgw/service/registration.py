"""Registering with Hermes, as the configuration wants it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.web.client import Agent

from hadesgw import __version__
from hadesgw.config import Config
from hadesgw.interfaces import IRequestLog
from hadesgw.policy.service_card import service_card
from hadesgw.service.hermes_client import HermesClient


def make_registration(
    config: Config,
    reactor: Any,
    own_url: Callable[[], str],
    log: IRequestLog,
    wall: Callable[[], float],
    random: Callable[[], float],
) -> HermesClient:
    """The service that registers this gateway.

    :param reactor: provides time and connections.
    :param own_url: of this gateway, where the configuration does not say how others reach it.
    :param wall: seconds since the epoch.
    :param random: a number from 0 to 1.
    """
    hermes = config.hermes

    def card() -> dict[str, Any]:
        return service_card(__version__, hermes.endpoint.rstrip("/") or own_url())

    agent = Agent(reactor, connectTimeout=config.timeouts.connect)
    return HermesClient(reactor, agent, hermes.url, card, log, wall, random)
