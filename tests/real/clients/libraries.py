"""A client library and its use by a :mod:`visitor <tests.real.clients.visitor>`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

from tests.real.clients.stage import CANARY, StagedTestCase
from tests.real.clients.visitor import Outcome, Visitor

LARGE = "x" * (2 << 20)
"""Larger than any route's cap here, and than what the buffers of a connection hold."""

BROKEN_OFF = "The model server's answer broke off before its end."


def asked(prompt: str) -> list[dict[str, str]]:
    """The messages of a chat that begins with `prompt`."""
    return [{"role": "user", "content": f"{prompt}\n{CANARY}"}]


class LibraryTestCase(StagedTestCase):
    """Acts of the library and what the gateway tells of them."""

    def command(self) -> Sequence[str | Path]:
        """The program of `visitors` that uses the library."""
        raise NotImplementedError

    @property
    def visitor(self) -> Visitor:
        return self.stage.invite(self.command())

    def settings(self, **more: object) -> dict[str, object]:
        """How the library is set up: as in docs/clients.md, and it does not repeat what failed unless told to."""
        return {
            "base_url": f"{self.stage.gateway.url}/v1",
            "api_key": self.stage.gateway.token,
            "max_retries": 0,
            "default_headers": {"X-Conveyance-Session-ID": self.session},
            **more,
        }

    def act(self, act: str, **arguments: object) -> Outcome:
        return self.act_with({}, act, **arguments)

    def act_with(self, settings: Mapping[str, object], act: str, **arguments: object) -> Outcome:
        """Act with the library set up otherwise."""
        return self.visitor.act(act, self.settings(**settings), arguments)

    def assert_raised(self, outcome: Outcome, kind: str, status: int | None, *words: str) -> dict[str, Any]:
        """The library raised a `kind` of exception that shows `words`."""
        raised = outcome.bad()
        self.assertIn(kind, raised["kinds"], raised)
        self.assertEqual(raised["status"], status, raised)
        for word in words:
            self.assertIn(word, raised["message"])
        return raised

    def assert_stranger(self, outcome: Outcome, failures_before: int) -> dict[str, Any]:
        """The library raised that its key is not known, named the request, and asked once.

        That is counted in the metrics: the log does not tell of every failure of a peer that fails often.
        """
        raised = self.assert_raised(outcome, "AuthenticationError", 401, "The API key is not known here.")
        self.assertRegex(raised["request_id"], r"\A[0-9a-f-]{36}\Z")
        self.assertEqual(self.stage.auth_failures(), failures_before + 1)
        return raised

    def assert_logged(self, request_id: str, status: int) -> None:
        """The id that the library shows is that of the log's line."""
        line = self.stage.gateway.request_log(request_id)
        self.assertEqual((line["status"], line["conveyance_session_id"]), (status, self.session))

    def starts(self, lines: Sequence[Mapping[str, Any]]) -> list[float]:
        """When the requests of these lines of the log came, in seconds."""
        return [datetime.fromisoformat(line["ts"]).timestamp() - line["duration_ms"] / 1000 for line in lines]

    def assert_waited(self, lines: Sequence[Mapping[str, Any]], seconds: float) -> None:
        """At least so many seconds lie between two requests; clocks may differ by a little."""
        times = self.starts(lines)
        gaps = [later - earlier for earlier, later in pairwise(times)]
        self.assertTrue(all(gap > seconds - 0.05 for gap in gaps), gaps)
