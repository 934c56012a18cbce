"""The engine `codex` of a gateway, made of its configuration."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.threads import deferToThreadPool

from hadesgw.config import Config
from hadesgw.interfaces import IRequestLog
from hadesgw.service.niceness import nice_command
from hadesgw.sessions.app_server import CodexEngine, Confinement
from hadesgw.sessions.codex_home import Homes, remove_tree
from hadesgw.sessions.codex_program import find_program
from hadesgw.sessions.enclosure import SCRATCH

ENGINE = "codex"


def make_codex(config: Config, reactor: Any, environment: Mapping[str, str]) -> CodexEngine:
    """The engine; nothing is started, looked for on disk but the program, or written yet.

    :param reactor: provides time, processes and threads.
    :param environment: of this process.
    """
    codex = config.sessions.codex
    homes = Homes(
        state_folder(codex.state, environment, ENGINE),
        [Path(tempfile.gettempdir()), SCRATCH],
        lambda folder: deferToThreadPool(reactor, reactor.getThreadPool(), remove_tree, folder),
    )
    confinement = Confinement(
        enclosed=codex.confinement == "required",
        hidden=list(hidden_paths(config, environment)),
        readable=[Path(folder) for folder in codex.readable],
        nice=nice_command(config.sessions.niceness),
    )
    return CodexEngine(reactor, lambda: find_program(codex.binary), homes, confinement, environment, os.urandom)


def try_codex(engine: CodexEngine, config: Config, log: IRequestLog) -> Deferred[None]:
    """Find out at the start whether it works, if it is to be used, and log why not.

    :returns: fires when that is known.
    """
    if config.sessions.engine != ENGINE or not config.sessions.workspaces:
        return succeed(None)

    def tell(_: object) -> None:
        obstacle = engine.obstacle()
        if obstacle is not None:
            log.event("engine_obstacle", "warn", engine=ENGINE, reason=obstacle)

    return engine.probe().addCallback(tell)


def state_folder(configured: str, environment: Mapping[str, str], name: str) -> Path:
    """A folder of ours that lasts: where it is configured, systemd says, or the user's own programs keep theirs.

    :param name: of the folder, where it is not configured.
    """
    if configured:
        return Path(configured)
    service = environment.get("STATE_DIRECTORY", "").partition(":")[0]
    if service:
        return Path(service) / name
    own = environment.get("XDG_STATE_HOME") or str(Path("~/.local/state").expanduser())
    return Path(own) / "hadesgw" / name


def hidden_paths(config: Config, environment: Mapping[str, str]) -> Iterator[Path]:
    """What this gateway rests on, and the workspaces of others."""
    paths = [
        config.clients.file,
        config.tls.private_key,
        config.server.control,
        environment.get("CREDENTIALS_DIRECTORY", ""),
        *(upstream.socket for upstream in config.upstream),
        *config.sessions.workspaces.values(),
    ]
    yield from (Path(path) for path in paths if path)
