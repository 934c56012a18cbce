"""What the gateway books of a real vLLM's work, against vLLM's own counts."""

from __future__ import annotations

import json
import os
import re
import signal
from pathlib import Path
from typing import Any

from tests.real.gateway import Gateway
from tests.real.vllm.server import MODEL
from tests.real.vllm.shared import CONTEXT
from tests.real.vllm.test_vllm import CHAT, ENDLESS, REPEATABLE, REQUESTS, FrontedTestCase
from tests.real.waiting import wait_for

_COUNTED = re.compile(rb"^vllm:(prompt|generation)_tokens_total\{[^}]*\} ([0-9.e+]+)", re.MULTILINE)


class BookingTests(FrontedTestCase):
    """Tokens, tool calls and ends as they are booked."""

    ask_upstream = True

    def make_gateway(self, upstream: Path) -> Gateway:
        sections: dict[str, dict[str, object]] = {
            "budget": {"context_tokens": 10 * CONTEXT, "output_tokens": 5 * CONTEXT},
            "usage": {"ask_upstream": self.ask_upstream},
        }
        gateway = Gateway(self.make_folder(), upstream, [MODEL], sections)
        self.addCleanup(self.judge_log, gateway)
        self.addCleanup(gateway.stop)
        gateway.start()
        return gateway

    def worked(self) -> dict[str, int]:
        """The tokens that vLLM has read and written, as it counts them itself."""
        return {
            kind.decode(): int(float(count)) for kind, count in _COUNTED.findall(self.straight.get("/metrics").body)
        }

    def booked(self, request_id: str) -> dict[str, Any]:
        """The line of a request."""
        return self.gateway.request_log(request_id)

    def test_what_is_booked_is_what_vllm_has_counted(self) -> None:
        """For every protocol, streamed or not; no client has asked for it, and none sees that we did."""
        for name in REQUESTS:
            for stream in (False, True):
                request_id = f"booked-{name.replace(' ', '-')}-{stream}"
                before = self.worked()
                answer = self.say(name, self.through, request_id, stream=stream)
                self.assertEqual(answer.status, 200, answer.body)
                line = self.booked(request_id)
                spent = {kind: count - before.get(kind, 0) for kind, count in self.worked().items()}
                told = (name, stream, line, spent)
                self.assertEqual(line["completion_tokens"], spent["generation"], told)
                self.assertEqual(line["prompt_tokens"], spent["prompt"], told)
                self.assertEqual(line["tokens_from"], "upstream", told)
                self.assertEqual(line["tool_calls"], int(name == "tool call"), told)
                if stream and REQUESTS[name][0] == CHAT:
                    self.assertNotIn(b'"usage"', answer.body)

    def test_a_client_that_leaves(self) -> None:
        """What vLLM had written by then, within a token: it is made to pause, so that nothing is on its way."""
        listing: dict[str, object] = {"return_token_ids": True}
        continuous: dict[str, object] = {"stream_options": {"include_usage": True, "continuous_usage_stats": True}}
        for number, asking in enumerate((listing, continuous)):
            request_id = f"left-{number}"
            document = {**ENDLESS, **REPEATABLE, "stream": True, **asking}
            with self.through.open("POST", CHAT, document, {"X-Request-ID": request_id}) as stream:
                written = self.read_until_it_pauses(stream)
            line = self.booked(request_id)
            self.assertEqual((line["status"], line["reason"]), (499, "client_left"))
            self.assertLessEqual(abs(line["completion_tokens"] - written), 1, (line, written))

    def read_until_it_pauses(self, stream: Any) -> int:
        """Read until vLLM, its engine stopped in the middle, has nothing more to say; the tokens it has told of."""
        written = 0
        relatives = [process for process in self.vllm.family() if process.title().startswith("VLLM::")]
        connection = stream.response.fp.raw._sock
        for number in range(1_000_000):
            if number == 20:
                for process in relatives:
                    os.kill(process.pid, signal.SIGSTOP)
                connection.settimeout(2.0)
            try:
                event = stream.event()
            except TimeoutError:
                break
            if event.startswith(b"data: {"):
                found = json.loads(event[6:])
                usage = found.get("usage")
                ids = found["choices"][0].get("token_ids") if found["choices"] else None
                written = usage["completion_tokens"] if usage else written + len(ids or ())
        connection.settimeout(60.0)
        for process in relatives:
            os.kill(process.pid, signal.SIGCONT)
        return written


class CountingTests(BookingTests):
    """Without asking: what is seen to pass."""

    ask_upstream = False

    def test_what_is_booked_is_what_vllm_has_counted(self) -> None:
        """No more than vLLM has written; and where each event lists its tokens, just as many."""
        for number, more in enumerate(({}, {"return_token_ids": True})):
            request_id = f"counted-{number}"
            before = self.worked()
            self.say("chat with usage", self.through, request_id, stream=True, **more)
            line = self.booked(request_id)
            spent = self.worked()["generation"] - before["generation"]
            self.assertEqual(line["tokens_from"], "count")
            if more:
                self.assertEqual(line["completion_tokens"], spent)
            self.assertLessEqual(line["completion_tokens"], spent)
            self.assertGreater(line["completion_tokens"], 0)

    def test_a_client_that_leaves(self) -> None:
        """As above: it makes no difference, for the number that is asked for would have come at the end."""
        super().test_a_client_that_leaves()
        wait_for(lambda: self.vllm.running() == 0, "vLLM has stopped working for it", seconds=20)
