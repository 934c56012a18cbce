"""OpenAI's library for Node."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from tests.real.clients import openai_library
from tests.real.clients.environment import CLIENTS, NODE

PROGRAM = Path(__file__).resolve().parent / "visitors" / "openai_node.mjs"


class NodeLibrary(openai_library.OpenAiTestCase):
    """The library as Node's programs use it."""

    def require_clients(self) -> None:
        self.kit = CLIENTS.kit(NODE)

    def command(self) -> Sequence[str | Path]:
        """A copy of the program, because Node looks for modules in the folders above it."""
        modules = self.stage.folder / "node_modules"
        if not modules.exists():
            modules.symlink_to(self.kit.modules)
        return [self.kit.node, shutil.copy(PROGRAM, self.stage.folder)]


class OpenAiNodeTests(NodeLibrary, openai_library.OpenAiTests):
    """In front of a gateway with the default timeouts."""


class OpenAiNodeImpatientTests(NodeLibrary, openai_library.ImpatientTests):
    """In front of an impatient gateway."""


class OpenAiNodeThriftyTests(NodeLibrary, openai_library.ThriftyTests):
    """In front of a gateway that allows little."""
