"""The engine `rehearsal` of a gateway, which needs no program."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from twisted.web.client import Agent

from hadesgw.config import Config
from hadesgw.sessions.engine import Launch
from hadesgw.sessions.model_call import GatewayModel
from hadesgw.sessions.rehearsal import INSTRUCTIONS, RehearsalEngine


def make_rehearsal(config: Config, reactor: Any, environment: Mapping[str, str]) -> RehearsalEngine:
    """The engine; arguments as of :func:`hadesgw.service.codex.make_codex`.

    :param reactor: carries its model calls.
    """
    agent = Agent(reactor)  # a connection a call, as real agents have it

    def model(launch: Launch) -> GatewayModel:
        fields = {"Authorization": f"Bearer {launch.token}", launch.session_header: launch.session_id}
        return GatewayModel(agent, launch.base_url, launch.model, fields, INSTRUCTIONS, launch.output_tokens)

    return RehearsalEngine(model)
