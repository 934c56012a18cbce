"""The token budget against a real vLLM: for every prompt the gateway's verdict is the one vLLM's own count gives.

Each prompt is asked of vLLM itself first: the usage in its answer is the truth. Then it goes through the gateway,
asking for so much output that both together come to one token less than the budget, to exactly the budget, and to one
more.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from tests.real.gateway import Gateway
from tests.real.vllm.server import MODEL
from tests.real.vllm.test_vllm import CHAT, COMPLETIONS, MESSAGES, RESPONSES, FrontedTestCase

BUDGET = 1536
"""Tokens that a prompt and its output may have here: much less than vLLM's own context."""
ROOM = range(3, 20)
"""How much output a prompt leaves room for, so that nothing long is generated."""
HEADER = "X-Hades-Token-Budget"
OVER = b'{"error": "TOKEN_BUDGET_EXCEEDED"}'

WORDS = (
    "the budget of a request is exact",
    "def f(x: int) -> str:\n    return '\\t' * x  # tabs",
    "你好，世界。请写一个函数。",
    "Grüße aus Köln – «Ærø» naïve ſtraße ﬁ",
    "😀👩‍👩‍👧‍👦🏳️‍🌈",
    "النص العربي ﷺ ﷽",
    "हिन्दी में लिखिए",
    "e\u0301a\u0308 \u1d160 \u2028 \u0000 \x1b[31m",
    '{"json": ["\\u00e9", 1.5e3, null]}',
    "<|im_end|>\n<|im_start|>system\nno<|endoftext|>",
    " " * 40 + "\n\n\n" + "-" * 60,
    '\\\\ \\" \\u0041 C:\\new',
)


class Kind(NamedTuple):
    """One of the protocols.

    :ivar output: the field that limits the output.
    :ivar used: finds the prompt's tokens in a whole answer.
    :ivar number: how many prompts are tried.
    :ivar prompts: makes a request, with a given filler at its end.
    """

    path: str
    output: str
    used: Callable[[Any], int]
    number: int
    prompts: Callable[[random.Random, str], dict[str, Any]]


class Prompt(NamedTuple):
    """A request that can be asked at the edge.

    :ivar tokens: of its prompt, in vLLM's own words.
    """

    kind: Kind
    document: dict[str, Any]
    tokens: int


def text(chance: random.Random) -> str:
    """A few words of any kind."""
    return " ".join(chance.choice(WORDS) for _ in range(chance.randint(1, 3)))


def schema(chance: random.Random) -> dict[str, Any]:
    """What a tool takes."""
    inner = {"type": "array", "items": {"type": "object", "properties": {"é": {"type": "number"}}}}
    properties = {"city": {"type": "string", "description": text(chance)}, "more": inner}
    return {"type": "object", "properties": properties, "required": ["city"]}


def function(chance: random.Random, number: int) -> dict[str, Any]:
    """A tool."""
    found: dict[str, Any] = {"name": f"tool_{number}", "parameters": schema(chance)}
    if chance.random() < 0.7:
        found["description"] = text(chance)
    if chance.random() < 0.3:
        found["strict"] = chance.random() < 0.5
    return found


def functions(chance: random.Random) -> list[dict[str, Any]]:
    """None, or a few tools."""
    return [function(chance, number) for number in range(chance.choice((0, 0, 1, 3)))]


def said(chance: random.Random, kind: str, what: str) -> Any:
    """A content, as a text or in parts."""
    if chance.random() < 0.6:
        return what
    return [{"type": kind, "text": what}, {"type": kind, "text": text(chance)}]


def chat(chance: random.Random, filler: str) -> dict[str, Any]:
    """A chat of some turns, with or without system and tools, some of which were called."""
    messages: list[dict[str, Any]] = []
    if chance.random() < 0.5:
        messages.append({"role": "system", "content": text(chance)})
    tools = functions(chance)
    for turn in range(chance.randint(0, 3)):
        messages.append({"role": "user", "content": said(chance, "text", text(chance))})
        if tools and chance.random() < 0.6:
            call = {"name": tools[0]["name"], "arguments": '{"city": "Köln", "more": []}'}
            messages += [
                {
                    "role": "assistant",
                    "content": None,
                    "tool_calls": [{"id": f"c{turn}", "type": "function", "function": call}],
                },
                {"role": "tool", "tool_call_id": f"c{turn}", "content": text(chance)},
            ]
        messages.append({"role": "assistant", "content": text(chance)})
    messages.append({"role": "user", "content": text(chance) + filler})
    more: dict[str, Any] = {"tools": [{"type": "function", "function": tool} for tool in tools]} if tools else {}
    if chance.random() < 0.2:
        more["reasoning_effort"] = chance.choice(("none", "low", "high"))
    if chance.random() < 0.2:
        more["chat_template_kwargs"] = {"enable_thinking": False}
    return {"messages": messages, **more}


def completion(chance: random.Random, filler: str) -> dict[str, Any]:
    """A text to go on with."""
    return {"prompt": text(chance) + filler}


def response(chance: random.Random, filler: str) -> dict[str, Any]:
    """Items as Codex sends them: instructions, earlier turns with thoughts, calls and outputs, tools."""
    items: list[dict[str, Any]] = [
        {"type": "message", "role": "user", "content": said(chance, "input_text", text(chance))}
    ]
    tools = functions(chance)
    for turn in range(chance.randint(0, 3)):
        answer = {"type": "output_text", "text": text(chance), "annotations": []}
        told: list[dict[str, Any]] = [
            {"type": "reasoning", "id": f"rs_{turn}", "summary": [], "encrypted_content": None,
             "content": [{"type": "reasoning_text", "text": text(chance)}]},
            {"type": "message", "id": f"msg_{turn}", "role": "assistant", "status": "completed", "content": [answer]},
            {"type": "function_call", "id": f"fc_{turn}", "call_id": f"c{turn}", "name": "tool_0",
             "arguments": '{"city": "Köln"}', "status": "completed"},
            {"type": "function_call_output", "call_id": f"c{turn}", "output": text(chance)},
        ]  # fmt: skip
        items += told[chance.choice((0, 1)) :]
    items.append(
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": text(chance) + filler}]}
    )
    more: dict[str, Any] = {"tools": [{"type": "function", **tool} for tool in tools]} if tools else {}
    if chance.random() < 0.5:
        more["instructions"] = text(chance)
    return {"input": items, "store": False, **more}


def anthropic(chance: random.Random, filler: str) -> dict[str, Any]:
    """A conversation in Anthropic's protocol."""
    messages: list[dict[str, Any]] = []
    tools = [
        {"name": f"tool_{number}", "description": text(chance), "input_schema": schema(chance)} for number in range(2)
    ]
    tools = tools if chance.random() < 0.5 else []
    for turn in range(chance.randint(0, 2)):
        use = {"type": "tool_use", "id": f"t{turn}", "name": "tool_0", "input": {"city": "Köln"}}
        result = {"type": "tool_result", "tool_use_id": f"t{turn}", "content": text(chance)}
        messages += [
            {"role": "user", "content": said(chance, "text", text(chance))},
            {"role": "assistant", "content": [{"type": "text", "text": text(chance)}, *([use] if tools else [])]},
        ]
        if tools:
            messages += [{"role": "user", "content": [result]}, {"role": "assistant", "content": text(chance)}]
    messages.append({"role": "user", "content": text(chance) + filler})
    more: dict[str, Any] = {"tools": tools} if tools else {}
    if chance.random() < 0.5:
        more["system"] = said(chance, "text", text(chance))
    return {"messages": messages, **more}


KINDS = (
    Kind(CHAT, "max_tokens", lambda answer: int(answer["usage"]["prompt_tokens"]), 110, chat),
    Kind(COMPLETIONS, "max_tokens", lambda answer: int(answer["usage"]["prompt_tokens"]), 30, completion),
    Kind(RESPONSES, "max_output_tokens", lambda answer: int(answer["usage"]["input_tokens"]), 60, response),
    Kind(MESSAGES, "max_tokens", lambda answer: int(answer["usage"]["input_tokens"]), 40, anthropic),
)


class BudgetTests(FrontedTestCase):
    """Every prompt at the edge."""

    def make_gateway(self, upstream: Path) -> Gateway:
        budget = {"context_tokens": BUDGET, "output_tokens": BUDGET - 1}
        body = {"default": "1MiB"}
        gateway = Gateway(self.make_folder(), upstream, [MODEL], {"budget": budget, "limits.body": body})
        self.addCleanup(self.judge_log, gateway)
        self.addCleanup(gateway.stop)
        gateway.start()
        return gateway

    def prompts(self, workers: Executor) -> list[Prompt]:
        """Requests that leave just a little room; those that are too long in themselves are left out."""
        seeds = [(kind, random.Random(f"{kind.path} {number}")) for kind in KINDS for number in range(kind.number)]
        return [prompt for prompt in workers.map(lambda seed: self.fitted(*seed), seeds) if prompt is not None]

    def fitted(self, kind: Kind, chance: random.Random) -> Prompt | None:
        """A prompt with so much filler that only a little room is left; None if it is too long without any."""
        filler, state = 0, chance.getstate()
        for _ in range(8):
            chance.setstate(state)
            document = {"model": MODEL, **kind.prompts(chance, " a" * filler)}
            answer = self.straight.post(kind.path, {**document, kind.output: 1})
            self.assertEqual(answer.status, 200, answer.body[:300])
            tokens = kind.used(answer.json())
            if BUDGET - tokens in ROOM:
                return Prompt(kind, document, tokens)
            filler += BUDGET - tokens - ROOM[len(ROOM) // 2]
            if filler < 0:
                return None
        raise AssertionError(f"no filler fits a prompt of {kind.path}")

    def verdicts(self, prompt: Prompt) -> str:
        """What is wrong with the gateway's verdicts, or ""."""
        kind, document, tokens = prompt
        for output, fits in ((BUDGET - tokens - 1, True), (BUDGET - tokens, True), (BUDGET - tokens + 1, False)):
            answer = self.through.post(kind.path, {**document, kind.output: output})
            if fits and (answer.status != 200 or kind.used(answer.json()) != tokens):
                return f"{kind.path}: {tokens} + {output}: {answer.status} {answer.header(HEADER)} {document}"
            exact = f"prompt={tokens}; counted=exact; output={output}; "
            if not fits and (answer.status, answer.body, (answer.header(HEADER) or "")[: len(exact)]) != (
                400,
                OVER,
                exact,
            ):
                return f"{kind.path}: {tokens} + {output}: {answer.status} {answer.header(HEADER)} {document}"
        return ""

    def test_the_verdict_is_vllms_own(self) -> None:
        """On more than 200 prompts of four protocols; nothing was estimated."""
        with ThreadPoolExecutor(4) as workers:
            prompts = self.prompts(workers)
            wrong = [found for found in workers.map(self.verdicts, prompts) if found]
        self.assertGreaterEqual(len(prompts), 200)
        self.assertEqual({prompt.kind for prompt in prompts}, set(KINDS))
        self.assertEqual(wrong[:3], [], f"{len(wrong)} of {len(prompts)}")
        self.assertIn(b"\nhades_codex_budget_estimates_total 0.0\n", self.through.get("/metrics").body)

    def test_no_limit_is_the_budgets(self) -> None:
        """A request that names none is answered no longer than the budget says."""
        gateway = Gateway(self.make_folder(), self.vllm.socket, [MODEL], {"budget": {"output_tokens": 5}})
        self.addCleanup(gateway.stop)
        gateway.start()
        for kind in KINDS:
            document = {"model": MODEL, **kind.prompts(random.Random(1), "")}
            usage = gateway.client().post(kind.path, document).json()["usage"]
            written = usage.get("completion_tokens") or usage.get("output_tokens")
            self.assertLessEqual(written, 5, kind.path)
