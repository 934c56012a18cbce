"""Where the programs of the real Codex are: those of the extra `codex`, or those somebody has put elsewhere."""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

PACKAGE = "codex_cli_bin"
SERIES = "0.163."
"""The versions whose protocol we speak: it changes from one to the next."""
INSTALL = "pip install 'hadesgw[codex]'"
_VERSION = re.compile(r"([0-9]+\.[0-9]+\.[0-9]+[0-9A-Za-z.+-]*)")


class ProgramAbsent(Exception):
    """There is no Codex to run; the text is one line that says what to do."""


@dataclass(frozen=True, slots=True)
class Program:
    """An installed Codex.

    :ivar path: the binary, absolute.
    :ivar folder: everything it needs of its package is in here.
    :ivar bubblewrap: the program that makes sandboxes; None where there is none.
    """

    path: Path
    folder: Path
    bubblewrap: Path | None


def find_program(configured: str) -> Program:
    """The Codex to run.

    :param configured: path of a binary; "" for that of the extra.
    :raises ProgramAbsent: if it is not there, or cannot be run.
    """
    path = Path(configured) if configured else _packaged()
    path = path.resolve()
    if not path.is_file() or not os.access(path, os.X_OK):
        raise ProgramAbsent(f"sessions.codex.binary: {path} is no program; leave it empty and run: {INSTALL}")
    return Program(path, _folder(path), _bubblewrap(path))


def _packaged() -> Path:
    spec = find_spec(PACKAGE)  # found, not imported: all we want to know is where it is
    if spec is None or spec.origin is None:
        raise ProgramAbsent(f"Codex is not installed; run: {INSTALL}, or name a binary in sessions.codex.binary")
    return Path(spec.origin).parent / "bin" / "codex"


def _folder(path: Path) -> Path:
    """A package keeps its binary in `bin`, and what belongs to it beside that."""
    return path.parent.parent if path.parent.name == "bin" and _resources(path).is_dir() else path.parent


def _resources(path: Path) -> Path:
    return path.parent.parent / "codex-resources"


def _bubblewrap(path: Path) -> Path | None:
    own = _resources(path) / "bwrap"
    if os.access(own, os.X_OK):
        return own
    found = shutil.which("bwrap")
    return None if found is None else Path(found).resolve()


def version_obstacle(printed: str) -> str | None:
    """What is wrong with the Codex whose `--version` printed this, as one line; None if nothing is."""
    found = _VERSION.search(printed)
    if found is None:
        return f"sessions.codex.binary does not say that it is Codex; leave it empty and run: {INSTALL}"
    if not found[1].startswith(SERIES):
        return f"this is Codex {found[1]} and hadesgw speaks with {SERIES}x only; run: {INSTALL}"
    return None
