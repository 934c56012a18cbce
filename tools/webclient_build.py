"""The build hook: a package that is built from a checkout carries the web client.

`hadesgw/webclient_dist` is not in git; what is there already is taken as it is (`make webclient` keeps it up to date).
A source package carries it built, so whoever installs from one needs no Node.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hatchling.builders.config import BuilderConfig
from hatchling.builders.hooks.plugin.interface import BuildHookInterface

WITHOUT = "HADESGW_WITHOUT_WEBCLIENT"
"""An environment variable: set to anything, packages are made without the client."""
COMMANDS = (("ci", "--no-audit", "--no-fund"), ("run", "build"))


class ClientNotBuilt(Exception):
    """Npm failed; the text holds the end of what it said and a way on."""


def build_client(root: Path, environ: Mapping[str, str]) -> str | None:
    """Build the client in the tree at `root`, if it is wanted, missing, and can be built.

    :returns: why the package will have none, or None if it will.
    :raises ClientNotBuilt: if npm is there and fails.
    """
    if (root / "hadesgw" / "webclient_dist" / "index.html").is_file():
        return None
    if environ.get(WITHOUT):
        return f"${WITHOUT} is set"
    if not (root / "webclient" / "package.json").is_file():
        return "its sources are not here"
    npm = shutil.which("npm", path=environ.get("PATH"))
    if npm is None:
        return "npm is not installed (it comes with Node 20)"
    for command in COMMANDS:
        _run([npm, *command], root / "webclient", environ)
    return None


def _run(command: list[str], folder: Path, environ: Mapping[str, str]) -> None:
    done = subprocess.run(
        command,
        cwd=folder,
        env=dict(environ),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        said = "\n  | ".join(done.stdout.splitlines()[-20:])
        raise ClientNotBuilt(
            f"the web client could not be built; to make the package without it, set {WITHOUT}=1."
            f" {' '.join(['npm', *command[1:]])} said:\n  | {said}"
        )


class WebClientHook(BuildHookInterface[BuilderConfig]):
    """What hatchling calls before it gathers files."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build the client, but for an editable install: that one shows the checkout as it is."""
        if version == "editable":
            return
        reason = build_client(Path(self.root), os.environ)
        if reason is not None:
            self.app.display_warning(f"without the web client: {reason}")
