"""OpenAI's library for Python."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tests.real.clients import openai_library
from tests.real.clients.environment import CLIENTS, PYTHON

PROGRAM = Path(__file__).resolve().parent / "visitors" / "openai_python.py"


class PythonLibrary(openai_library.OpenAiTestCase):
    """The library as Python's programs use it."""

    def require_clients(self) -> None:
        self.kit = CLIENTS.kit(PYTHON)

    def command(self) -> Sequence[str | Path]:
        return [self.kit.python, "-I", PROGRAM]


class OpenAiPythonTests(PythonLibrary, openai_library.OpenAiTests):
    """In front of a gateway with the default timeouts."""


class OpenAiPythonImpatientTests(PythonLibrary, openai_library.ImpatientTests):
    """In front of an impatient gateway."""


class OpenAiPythonThriftyTests(PythonLibrary, openai_library.ThriftyTests):
    """In front of a gateway that allows little."""
