"""The counts of ``GET /metrics``, under vLLM's names, in Prometheus' text format."""

from __future__ import annotations

from typing import Final

_FINISHES: Final = ("stop", "length", "abort", "error", "repetition")


class Meters:
    """What the rehearsal model has done and is doing.

    :param model: the value of every ``model_name`` label.
    """

    def __init__(self, model: str) -> None:
        self._model = model
        self.running = 0
        self.prompt_tokens = 0
        self.generated_tokens = 0
        self._ended = dict.fromkeys(_FINISHES, 0)

    def began(self, prompt_tokens: int) -> None:
        """A request was admitted."""
        self.running += 1
        self.prompt_tokens += prompt_tokens

    def ended(self, finishes: list[str]) -> None:
        """A request is over.

        :param finishes: how its choices finished; a request that was left by its client has none, as in vLLM.
        """
        self.running -= 1
        for finish in finishes:
            self._ended["stop" if finish == "tool_calls" else finish] += 1

    def text(self) -> str:
        """The whole exposition."""
        name = self._model.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
        label = f'engine="0",model_name="{name}"'
        ended = [f'{{{label},finished_reason="{finish}"}} {float(n)}' for finish, n in self._ended.items()]
        families = (
            (
                "num_requests_running",
                "gauge",
                "Requests being answered.",
                [f"{{{label}}} {float(self.running)}"],
            ),
            (
                "num_requests_waiting",
                "gauge",
                "Requests waiting; a rehearsal keeps nobody waiting.",
                [f"{{{label}}} 0.0"],
            ),
            ("kv_cache_usage_perc", "gauge", "A rehearsal has no cache.", [f"{{{label}}} 0.0"]),
            ("num_preemptions_total", "counter", "A rehearsal preempts nobody.", [f"{{{label}}} 0.0"]),
            (
                "prompt_tokens_total",
                "counter",
                "Prompt tokens read.",
                [f"{{{label}}} {float(self.prompt_tokens)}"],
            ),
            (
                "generation_tokens_total",
                "counter",
                "Tokens made.",
                [f"{{{label}}} {float(self.generated_tokens)}"],
            ),
            ("request_success_total", "counter", "Answers finished.", ended),
        )
        lines = []
        for family, kind, words, samples in families:
            lines += [f"# HELP vllm:{family} {words}", f"# TYPE vllm:{family} {kind}"]
            lines += [f"vllm:{family}{sample}" for sample in samples]
        return "\n".join(lines) + "\n"
