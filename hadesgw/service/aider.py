"""The engine `aider` of a gateway, made of its configuration."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from twisted.internet.threads import deferToThreadPool

from hadesgw.config import Config
from hadesgw.service.codex import hidden_paths, state_folder
from hadesgw.service.niceness import nice_command
from hadesgw.sessions.aider import AiderEngine, Manner
from hadesgw.sessions.aider_environment import find_environment
from hadesgw.sessions.app_server import Confinement
from hadesgw.sessions.codex_home import Homes, remove_tree
from hadesgw.sessions.codex_program import ProgramAbsent, find_program

ENGINE = "aider"


def make_aider(config: Config, reactor: Any, environment: Mapping[str, str]) -> AiderEngine:
    """The engine; nothing is started or written yet.

    :param reactor: provides time, processes and threads.
    :param environment: of this process.
    """
    aider = config.sessions.aider
    homes = Homes(
        state_folder(aider.state, environment, ENGINE),
        [],
        lambda folder: deferToThreadPool(reactor, reactor.getThreadPool(), remove_tree, folder),
        "sessions.aider.state",
    )
    confinement = Confinement(
        enclosed=aider.confinement == "required",
        hidden=list(hidden_paths(config, environment)),
        readable=[],
        nice=nice_command(config.sessions.niceness),
    )
    manner = Manner(edit_format=aider.edit_format, commits=aider.commits, map_tokens=aider.map_tokens)
    folder = environment_folder(config, environment)
    return AiderEngine(
        reactor,
        lambda: find_environment(folder),
        _bubblewrap(config),
        homes,
        confinement,
        manner,
        environment,
        os.urandom,
    )


def environment_folder(config: Config, environment: Mapping[str, str]) -> Path:
    """Where Aider's own Python environment is, or shall be."""
    configured = config.sessions.aider.environment
    return Path(configured) if configured else state_folder("", environment, "engines") / ENGINE


def _bubblewrap(config: Config) -> Path | None:
    """The machine's own, or that which comes with Codex."""
    found = shutil.which("bwrap")
    if found is not None:
        return Path(found).resolve()
    try:
        return find_program(config.sessions.codex.binary).bubblewrap
    except ProgramAbsent:
        return None
