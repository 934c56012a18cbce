"""What can be known of the engines of coding sessions without a gateway, and how one is installed."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from hadesgw.config import Config
from hadesgw.service.aider import environment_folder
from hadesgw.sessions.aider_environment import SERIES, AiderAbsent, find_environment, install
from hadesgw.sessions.codex_program import ProgramAbsent, find_program

Obstacle = Callable[[Config, Mapping[str, str]], str | None]


def _codex(config: Config, environ: Mapping[str, str]) -> str | None:
    try:
        find_program(config.sessions.codex.binary)
    except ProgramAbsent as absent:
        return str(absent)
    return None


def _aider(config: Config, environ: Mapping[str, str]) -> str | None:
    try:
        find_environment(environment_folder(config, environ))
    except AiderAbsent as absent:
        return str(absent)
    return None


ENGINES: Mapping[str, Obstacle] = {
    "codex": _codex,
    "aider": _aider,
    "rehearsal": lambda config, environ: None,
}
"""For each engine what stands in its way, or None; how it is enclosed, the gateway finds out when it starts one."""


def install_aider(config: Config, environ: Mapping[str, str], run: Callable[[Sequence[str]], int]) -> Path:
    """Install Aider where the gateway looks for it.

    :param run: runs a program to its end, and returns its exit status.
    :returns: the folder.
    :raises InstallFailed: if that cannot be done.
    :raises OSError: likewise.
    """
    folder = environment_folder(config, environ)
    install(folder, _python(environ), run)
    return folder


def _python(environ: Mapping[str, str]) -> str | None:
    """A Python that Aider runs on: this one if it is, else one that is found; None if there is none."""
    if f"{sys.version_info.major}.{sys.version_info.minor}" in SERIES:
        return sys.executable
    path = environ.get("PATH", os.defpath)
    return next((found for each in SERIES if (found := shutil.which(f"python{each}", path=path)) is not None), None)
