"""The coding sessions of a gateway, made of its configuration."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool

from hadesgw.config import Config
from hadesgw.interfaces import IRequestLog, ISessionMeter
from hadesgw.policy.credentials import ClientStore
from hadesgw.policy.session_tokens import SessionTokens
from hadesgw.service.niceness import nice_command
from hadesgw.service.scratch import Scratch
from hadesgw.sessions.admission import Settings
from hadesgw.sessions.engine import IEngine
from hadesgw.sessions.git import Git
from hadesgw.sessions.registry import SessionRegistry
from hadesgw.sessions.session import Bounds
from hadesgw.sessions.workspace import Workspace

_GIT = "git"


def make_sessions(
    config: Config,
    reactor: Any,
    *,
    engines: Mapping[str, IEngine],
    tokens: SessionTokens,
    clients: ClientStore,
    own_url: Callable[[], str | None],
    meter: ISessionMeter,
    log: IRequestLog,
) -> SessionRegistry:
    """The sessions, none of which has begun.

    :param reactor: provides time, processes and threads.
    :param tokens: of the agents.
    :param own_url: of a listener of this gateway's that agents can reach; None while there is none.
    """

    def base_url() -> str | None:
        url = own_url()
        return None if url is None else f"{url}/v1"

    def in_thread(work: Callable[[], Any]) -> Deferred[Any]:
        return deferToThreadPool(reactor, reactor.getThreadPool(), work)

    return SessionRegistry(
        _settings(config),
        engines=engines,
        workspaces={name: Workspace(name, Path(folder)) for name, folder in config.sessions.workspaces.items()},
        git=Git(reactor, shutil.which(_GIT) or _GIT, nice_command(config.sessions.niceness)),
        tokens=tokens,
        standing=clients.standing,
        base_url=base_url,
        scratch=Scratch(Path(tempfile.gettempdir()), in_thread).make,
        in_thread=in_thread,
        clock=reactor,
        wall=time.time,
        entropy=os.urandom,
        meter=meter,
        log=log,
    )


def _settings(config: Config) -> Settings:
    sessions = config.sessions
    admitted = [model for upstream in config.upstream for model in upstream.models if model != "*"]
    return Settings(
        engine=sessions.engine,
        default_workspace=sessions.default_workspace,
        model=sessions.model or next(iter(admitted), ""),
        approval=sessions.approval,
        sandbox=sessions.sandbox,
        session_header=config.headers.session_id,
        tokens=lambda model: config.tokens(config.upstream_of(model)),
        bounds=_bounds(config),
        per_client=sessions.max_per_client,
        most=sessions.max_sessions,
        git_seconds=sessions.git_seconds,
    )


def _bounds(config: Config) -> Bounds:
    sessions = config.sessions
    return Bounds(
        queue=sessions.queue,
        input_bytes=sessions.input,
        replay_messages=sessions.replay_messages,
        replay_bytes=sessions.replay,
        active_files=sessions.active_files,
        idle_seconds=sessions.idle_seconds,
        age_seconds=sessions.age_seconds,
        approval_seconds=sessions.approval_seconds,
        absence_seconds=sessions.absence_seconds,
    )
