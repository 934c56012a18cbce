"""Traces, sent where the configuration says; needs the extra `otel`."""

from __future__ import annotations

from typing import Any

from twisted.internet.threads import deferToThreadPool

from hadesgw.config import Config
from hadesgw.service.gateway import Gateway
from hadesgw.telemetry.followers import Followers
from hadesgw.telemetry.trace import Tracing, exporting


def trace(config: Config, reactor: Any, gateway: Gateway, followers: Followers) -> None:
    """Follow requests with spans, and send off the last when the last request has been served.

    :param reactor: provides threads.
    """
    tracing = Tracing(exporting(config.otel.endpoint), config.otel.service_name, config.otel.sampled)
    followers.add(tracing)
    gateway.at_last(lambda: deferToThreadPool(reactor, reactor.getThreadPool(), tracing.provider.shutdown))
