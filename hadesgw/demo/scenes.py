"""The named rehearsals: what ``rehearse: NAME`` in a prompt plays. docs/rehearsal.md lists them all."""

from __future__ import annotations

import json
from collections.abc import Callable
from types import MappingProxyType
from typing import Final

import msgspec

from hadesgw.demo.answer import Answer
from hadesgw.demo.conversation import Call, Conversation
from hadesgw.demo.editing import new_file, wanted_edit
from hadesgw.demo.toolcalls import call_of, fitting_tool

_STAMP: Final = {"_rev": "rehearsal-1", "idempotency_key": "rehearsal-1"}
# What the model would say to each of HADES' memory tools.
_MEMORY: Final = {
    "store_core": {"key": "user.goal", "value": "rehearse the gateway", **_STAMP},
    "fetch_core": {"key": "user.goal"},
    "append_fifo": {"role": "user", "content": "rehearse the gateway", **_STAMP},
    "evict_fifo": {"target_ratio": 0.5, **_STAMP},
    "write_recall": {"summary": "The user rehearses the gateway.", "tags": ["rehearsal"], **_STAMP},
    "search_recall": {"query": "rehearsal", "limit": 5},
    "search_archival": {"query": "rehearsal", "limit": 5, "page": 0},
    "ingest_archival": {"text": "Notes of the rehearsal.", "source": "rehearsal", **_STAMP},
    "record_heartbeat": {"request_heartbeat": True, "reason": "more memory work is due"},
}
MEMORY_TOOLS: Final = tuple(_MEMORY)
_THOUGHTS: Final = (
    "The prompt asks for thinking, and I am a rehearsal: I have a script and no thoughts. So I recite some. "
    "First I would read the question again. Then I would weigh two answers, and drop one. The other is short "
    "and true."
)
_CHARACTERS: Final = (
    "Deutsch: Grüße, Größe, Fuß. 中文：你好，网关。 日本語：ゲートウェイ。 Ελληνικά, русский, עברית, "
    "العربية. Combining: e\u0301, a\u0308. Beyond the BMP: 😀 👩‍🚀 𝔊𝔞𝔱𝔢. "
    "Markdown: **bold**, `a < b && c > d`, [link](#x), | table |."
)


class Stage(msgspec.Struct, frozen=True):
    """What a scene can see.

    :ivar prompt_tokens: how long the request is; ``context_tokens``: how long it may be, answer included.
    """

    conversation: Conversation
    prompt_tokens: int
    context_tokens: int


Scene = Callable[[Stage], Answer]


def memory_call(name: str) -> Call:
    """A call of one of HADES' memory tools."""
    return Call(name, json.dumps(_MEMORY[name]))


def plain(stage: Stage) -> Answer:
    """A short answer that says what this is and repeats how the prompt began."""
    words = " ".join(stage.conversation.prompt.split()[:12])[:80]
    edit = wanted_edit(stage.conversation.prompt)
    if edit is not None:
        block = f"{edit.path}\n```{edit.fence}\n{new_file(edit)}```"
        return Answer(text=f"I am the **rehearsal model**; this file is from my script, not from thought.\n\n{block}\n")
    return Answer(
        text="Hello! I am the **rehearsal model** of hadesgw. No language model runs here: my answers are a "
        f"script, the same every time.\n\nYour prompt begins with: “{words}”\n\n"
        "```python\ndef rehearse(prompt: str) -> str:\n"
        '    """Nothing is computed here; that is the point."""\n'
        '    return f"I heard: {prompt}"\n```\n\n'
        "Say `rehearse: help` to see what else I can play.\n"
    )


def guide(stage: Stage) -> Answer:
    """The list of all scenes."""
    del stage
    rows = "\n".join(f"- `rehearse: {name}`: {summary(name)}" for name in SCENES)
    memory = ", ".join(f"`{name}`" for name in MEMORY_TOOLS)
    return Answer(
        text=f"I am the rehearsal model. Put one of these on a line of your prompt:\n\n{rows}\n\n"
        f"and `rehearse: NAME` for one call of a memory tool: {memory}.\n\n"
        "Numbers can follow, as in `rehearse: long tokens=300 tokens_per_second=20`.\n"
    )


def long(stage: Stage) -> Answer:
    """A long text: 600 tokens, or `tokens`."""
    del stage
    return Answer(text="The rehearsal model recites.\n\n", tokens=600)


def reason(stage: Stage) -> Answer:
    """Reasoning, then an answer."""
    return msgspec.structs.replace(plain(stage), reasoning=_THOUGHTS)


def _a_call(stage: Stage) -> Call:
    """A call of a tool the client offers, or of an invented one."""
    conversation = stage.conversation
    tool = fitting_tool(conversation) or next(iter(conversation.tools), None)
    return call_of(tool, conversation.prompt) if tool else Call("get_weather", '{"city": "Oslo"}')


def tool(stage: Stage) -> Answer:
    """One tool call, its arguments in one piece."""
    return Answer(calls=(_a_call(stage),), whole_arguments=True)


def tool_fragments(stage: Stage) -> Answer:
    """One tool call, its arguments token by token."""
    return Answer(calls=(_a_call(stage),))


def tools_parallel(stage: Stage) -> Answer:
    """Three tool calls in one answer."""
    conversation = stage.conversation
    offered = [call_of(each, conversation.prompt) for each in conversation.tools[:3]]
    invented = [Call("get_weather", f'{{"city": "{city}"}}') for city in ("Oslo", "Rome", "Lima")]
    calls = (offered * 3)[:3] or invented
    return Answer(text="Three calls at once.", calls=tuple(calls))


def tool_broken(stage: Stage) -> Answer:
    """A tool call whose arguments are not JSON."""
    call = _a_call(stage)
    return Answer(calls=(Call(call.name, call.arguments.rstrip("}").rstrip() + ', "unfinished": "'),))


def memory(stage: Stage) -> Answer:
    """Four HADES memory tools in a row, the last one asks for a heartbeat."""
    del stage
    names = ("search_recall", "write_recall", "store_core", "record_heartbeat")
    return Answer(text="I look it up, and note it.", calls=tuple(memory_call(name) for name in names))


def memory_warning(stage: Stage) -> Answer:
    """A memory-pressure warning, then the flush: `evict_fifo` and `write_recall`."""
    used, limit = stage.prompt_tokens, stage.context_tokens
    words = f"Memory pressure: {used} of {limit} tokens are in use and the warning threshold is 70 %."
    details = {"message": words, "tokens": used, "limit": limit}
    event = {"type": "warning", "agent_id": "rehearsal", "details": details}
    calls = (memory_call("evict_fifo"), memory_call("write_recall"))
    return Answer(text=f"{words}\n\n```json\n{json.dumps(event)}\n```\n", calls=calls)


def budget(stage: Stage) -> Answer:
    """The budget refusal: 400 and exactly `{"error": "TOKEN_BUDGET_EXCEEDED"}`."""
    del stage
    return Answer(status=400, body='{"error": "TOKEN_BUDGET_EXCEEDED"}')


def too_many(stage: Stage) -> Answer:
    """429 with `Retry-After`."""
    del stage
    return Answer(status=429, message="The rehearsal model plays a rate limit.", retry_after=1)


def failing(stage: Stage) -> Answer:
    """500."""
    del stage
    return Answer(status=500, message="The rehearsal model plays an internal error.")


def overloaded(stage: Stage) -> Answer:
    """503 with `Retry-After`."""
    del stage
    return Answer(status=503, message="The rehearsal model plays an overloaded server.", retry_after=1)


def stall(stage: Stage) -> Answer:
    """Silence after 20 tokens (`after_tokens`) for `stall_seconds`, or ever; maybe with comments."""
    return msgspec.structs.replace(plain(stage), fault="stall", after_tokens=20)


def cut(stage: Stage) -> Answer:
    """The connection breaks after 20 tokens (`after_tokens`)."""
    return msgspec.structs.replace(plain(stage), fault="cut", after_tokens=20)


def engine_death(stage: Stage) -> Answer:
    """The engine dies after 20 tokens (`after_tokens`): an error event, then the end as if all were well."""
    return msgspec.structs.replace(plain(stage), fault="engine-death", after_tokens=20)


def slow_start(stage: Stage) -> Answer:
    """Five seconds (`wait_seconds`) before the first token."""
    return msgspec.structs.replace(plain(stage), wait_seconds=5)


def characters(stage: Stage) -> Answer:
    """Text in many scripts, beyond the BMP too."""
    del stage
    return Answer(text=_CHARACTERS)


def silence(stage: Stage) -> Answer:
    """An answer without a single token."""
    del stage
    return Answer()


SCENES: Final = MappingProxyType[str, Scene](
    {
        "plain": plain,
        "help": guide,
        "long": long,
        "reason": reason,
        "characters": characters,
        "silence": silence,
        "tool": tool,
        "tool-fragments": tool_fragments,
        "tools-parallel": tools_parallel,
        "tool-broken": tool_broken,
        "memory": memory,
        "memory-warning": memory_warning,
        "slow-start": slow_start,
        "stall": stall,
        "cut": cut,
        "engine-death": engine_death,
        "budget": budget,
        "429": too_many,
        "500": failing,
        "503": overloaded,
    }
)


def summary(name: str) -> str:
    """One sentence about a scene."""
    return " ".join((SCENES[name].__doc__ or "").split())


def scene(name: str) -> Scene | None:
    """The scene of that name, the memory tools included; None if there is none."""
    if name in _MEMORY:
        return lambda stage: Answer(calls=(memory_call(name),))
    return SCENES.get(name)
