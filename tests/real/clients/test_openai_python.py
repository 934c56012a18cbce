"""OpenAI's library for Python."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tests.real.clients import openai_library
from tests.real.clients.environment import CLIENTS, PYTHON
from tests.real.clients.libraries import BROKEN_OFF
from tests.real.clients.stage import MODEL

PROGRAM = Path(__file__).resolve().parent / "visitors" / "openai_python.py"


class PythonLibrary(openai_library.OpenAiTestCase):
    """The library as Python's programs use it."""

    def require_clients(self) -> None:
        self.kit = CLIENTS.kit(PYTHON)

    def command(self) -> Sequence[str | Path]:
        return [self.kit.python, "-I", PROGRAM]


class OpenAiPythonTests(PythonLibrary, openai_library.OpenAiTests):
    """In front of a gateway with the default timeouts."""

    def test_structured_outputs(self) -> None:
        """`parse` of chat and of Responses makes an object of the answer."""
        heard = self.act("parsed", model=MODEL, prompt="Who is Ada?").good()
        self.assertEqual(heard["names"], ["Who is Ada?"] * 2)

    def test_broken_response_for_the_helper(self) -> None:
        """`responses.stream` takes our last event for one of the response it reads, and passes on our words."""
        outcome = self.act("responses_helper", model=MODEL, input="rehearse: cut")
        self.assertEqual(outcome.heard.get("failure"), BROKEN_OFF)
        self.assertEqual(outcome.heard["types"][-1], "response.failed")
        outcome.bad()


class OpenAiPythonImpatientTests(PythonLibrary, openai_library.ImpatientTests):
    """In front of an impatient gateway."""


class OpenAiPythonThriftyTests(PythonLibrary, openai_library.ThriftyTests):
    """In front of a gateway that allows little."""
