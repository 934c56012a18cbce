"""What an answer of the model server does, learned from its bytes as they pass: events, tool calls, memory, usage.

Nothing a model wrote is kept beyond its event, but for the arguments of tool calls until they can be judged; what comes
out is counts, configured names and words of the protocols. Cut the same bytes anywhere and the facts are the same.
Whatever arrives, what is held is bounded and nothing is raised: an answer that means nothing to us passes all the same.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable
from typing import Any

import msgspec
from msgspec import Raw, Struct

from hadesgw.telemetry.memory import TextReader, Vocabulary
from hadesgw.telemetry.tool_call import UNREADABLE, Call

LONGEST_EVENT = 1 << 20
"""Bytes of the largest event that is read; a larger one is counted, and passed over."""
LARGEST_ANSWER = 1 << 20
"""Bytes of the largest answer in one piece that is read."""
MOST_CALLS = 128
"""Tool calls of one answer whose arguments are judged; more are counted by name only."""
LONGEST_ARGUMENTS = 1 << 18
"""Characters that the arguments of one answer's calls may have together to be judged."""
MOST_TOKENS = 1 << 32
"""More than any answer has. A number above is a mistake, and no counter that took it would ever be right again."""
OTHER = "other"
"""Stands for every name that the configuration does not have."""
FINISHES = frozenset(
    "stop length tool_calls function_call content_filter abort error"
    " end_turn max_tokens stop_sequence tool_use pause_turn refusal"
    " completed incomplete failed cancelled".split()
)
"""Why a model finishes, in the words of the three protocols and of vLLM."""
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_SHORT = 4096  # bytes of a held beginning
_RESPONSE_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
Notice = Callable[[str, str | None], None]
"""Told a fact and its word as they become known; see :meth:`hadesgw.interfaces.IFollower.learned`."""


NOTHING = Raw()
"""Stands for a member that is not there."""


class _Memory(Struct, gc=False):
    type: Any = None


_MEMORY = msgspec.json.Decoder(_Memory).decode
_MEMORIES = msgspec.json.Decoder(list[_Memory]).decode


class Extras(Struct, gc=False):
    """Members that an object may have in every protocol."""

    type: Any = None
    error: Any = None
    agent_id: Any = None
    time: Any = None
    memory_event: Raw = NOTHING
    memory_events: Raw = NOTHING


class Watch:
    """One answer.

    :ivar events: how many Server-Sent Events with data have come.
    :ivar unreadable: how many of them, or of answers in one piece, meant nothing to us.
    :ivar response_id: the id the model server gave its answer, if it has the form of one.
    :ivar finish: why the model finished: a protocol's word, or "other"; None before it has.
    :ivar done: whether the answer's own end mark has come.
    :ivar failed: whether the model server told of an error in the answer. An end mark after it does not heal it.
    :ivar prompt_tokens: as the model server counted them, or None.
    :ivar completion_tokens: as the model server counted them, or None.
    :ivar counted_tokens: the answer's tokens as far as they were seen, where nobody else counts them.
    :ivar tools: tool calls by name.
    :ivar memory: memory events by kind; "tool_call" stands for every call of a memory tool.
    :ivar retained: bytes held back for an event, or an answer, that is not complete.
    """

    def __init__(self, events: bool, words: Vocabulary, notice: Notice) -> None:
        self.events = 0
        self.unreadable = 0
        self.response_id: str | None = None
        self.finish: str | None = None
        self.done = False
        self.failed = False
        self.prompt_tokens: int | None = None
        self.completion_tokens: int | None = None
        self.counted_tokens = 0
        self.tools: dict[str, int] = {}
        self.memory: dict[str, int] = {}
        self._words = words
        self._text = TextReader(words)
        self._notice = notice
        self._calls: dict[Hashable, Call] = {}
        self._last_call: Hashable = None
        self._arguments = 0
        self._held = bytearray()
        self._oversized = False
        self._unmarked = False  # whether no byte order mark can come any more; nor can it when there was an event
        self._after_return = False  # whether the last byte was a carriage return, which may have a line feed to it
        self._in_events = events

    @property
    def retained(self) -> int:
        """See the class."""
        return len(self._held)

    def end(self, whole: bool) -> None:
        """No more bytes come; may be called once.

        :param whole: whether the answer came to its end in good order.
        """
        if not self._in_events and whole and not self._oversized:
            self._read(self._answer, bytes(self._held))
        self._held.clear()
        for call in self._calls.values():
            if call.label is None:
                self._name(call, None)

    def states(self, whole: bool) -> dict[str, int]:
        """How many tool calls have arguments in each :meth:`Call.state`; of those that are judged."""
        states: dict[str, int] = {}
        for call in self._calls.values():
            state = call.state(whole)
            states[state] = states.get(state, 0) + 1
        return states

    @property
    def tool_calls(self) -> int:
        """How many there were."""
        return sum(self.tools.values())

    @property
    def memory_events(self) -> int:
        """How many there were."""
        return sum(self.memory.values())

    # -- Events out of bytes (WHATWG HTML 9.2.6) -----------------------------------------------------------------------

    def feed(self, data: bytes) -> None:
        """Take note of the bytes that came next."""
        if not self._in_events:
            self._keep(data)
            return
        if b"\r" in data or self._after_return:
            data = self._plain_lines(data)
        if not self._held and data[-2:] == b"\n\n" and data.find(b"\n\n") == len(data) - 2:  # nearly every read
            self._block(data[:-2])
        else:
            self._divide(data)

    def _keep(self, data: bytes) -> None:
        """More of an answer in one piece."""
        if len(self._held) + len(data) > LARGEST_ANSWER:
            self._held.clear()
            self.unreadable += not self._oversized
            self._oversized = True
        elif not self._oversized:
            self._held += data

    def _divide(self, data: bytes) -> None:
        """More of a stream of events, from anywhere to anywhere."""
        held = self._held
        if len(held) <= _SHORT:  # all at once; a long beginning would be copied with each piece that is added to it
            *blocks, held[:] = (bytes(held) + data if held else data).split(b"\n\n")
            if not self._oversized and self._know(blocks):
                self.events += len(blocks)
            else:
                for block in blocks:
                    self._block(block)
            self._bound()
            return
        at = max(len(held) - 1, 0)
        held += data
        border = held.find(b"\n\n", at)
        if border >= 0:
            begin = 0
            while border >= 0:
                self._block(bytes(held[begin:border]))
                begin = border + 2
                border = held.find(b"\n\n", begin)
            del held[:begin]
        self._bound()

    def _bound(self) -> None:
        """Hold no more of an event than may be held of one."""
        if len(self._held) > LONGEST_EVENT + 1:  # one more, for it may be the border's first half
            self._oversized = True
            del self._held[:-1]

    def _plain_lines(self, data: bytes) -> bytes:
        """`data` with every line end a line feed, also where one of two bytes came in two reads."""
        if self._after_return and data.startswith(b"\n"):
            data = data[1:]
            self._after_return = False
        if data:
            self._after_return = data.endswith(b"\r")
        return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")

    def _block(self, block: bytes) -> None:
        """What stands between two borders: one event, or comments."""
        if self._oversized or len(block) > LONGEST_EVENT:
            self._oversized = False
            self.events += 1
            self.unreadable += 1
            return
        if block[:6] == b"data: " and b"\n" not in block:  # nearly every one
            self.events += 1
            try:
                self._event(block[6:])
            except UNREADABLE:
                self.unreadable += 1
            return
        if not self._unmarked:
            self._unmarked = True
            block = block if self.events else block.removeprefix(_BYTE_ORDER_MARK)
        lines = [line[5:] for line in block.split(b"\n") if line.startswith(b"data:")]
        if lines:
            self.events += 1
            self._read(self._event, b"\n".join([line[1:] if line.startswith(b" ") else line for line in lines]))

    def _read(self, read: Callable[[bytes], None], data: bytes) -> None:
        try:
            read(data)
        except UNREADABLE:
            self.unreadable += 1

    # -- What the protocols have in common -----------------------------------------------------------------------------

    def _know(self, blocks: list[bytes]) -> bool:
        """Whether all these are events, and what they mean was found out and noted without a look into each."""
        return False

    def _event(self, data: bytes) -> None:
        """One event's data."""
        raise NotImplementedError

    def _answer(self, data: bytes) -> None:
        """An answer in one piece."""
        raise NotImplementedError

    def _note_id(self, value: object) -> None:
        if self.response_id is None and isinstance(value, str) and _RESPONSE_ID.fullmatch(value):
            self.response_id = value

    def _note_finish(self, value: object) -> None:
        if self.finish is None and isinstance(value, str):
            self.finish = value if value in FINISHES else OTHER
            self._notice("finish", self.finish)

    def _note_usage(self, usage: object, prompt: str, completion: str) -> None:
        """Each number told later stands in the earlier's place: they grow."""
        if isinstance(usage, dict):
            tokens = usage.get(prompt)
            if type(tokens) is int and 0 <= tokens <= MOST_TOKENS:
                self.prompt_tokens = tokens
            tokens = usage.get(completion)
            if type(tokens) is int and 0 <= tokens <= MOST_TOKENS:
                self.completion_tokens = tokens

    def _note_extras(self, event: Extras) -> None:
        """What any object may have beside its own members: memory events in it, or itself one."""
        if event.agent_id is not None or event.time is not None:
            self._remember(event.type)
        for value in (event.memory_event, event.memory_events):
            if value is not NOTHING:
                text = bytes(value)
                for told in _MEMORIES(text) if text.startswith(b"[") else (_MEMORY(text),):
                    self._remember(told.type)

    def _note_text(self, text: object) -> None:
        """Some of what the model says."""
        if isinstance(text, str) and ("{" in text or self._text.begun):
            for kind in self._text.feed(text):
                self._count_memory(kind)

    def _remember(self, kind: object) -> None:
        if isinstance(kind, str) and kind in self._words.memory_events:
            self._count_memory(kind)

    def _count_memory(self, kind: str) -> None:
        self.memory[kind] = self.memory.get(kind, 0) + 1
        self._notice("memory_event", kind)

    def _find_call(self, key: Hashable, identity: object, name: object) -> Call | None:
        """The call of that key, made if need be; None if there are too many."""
        call = self._calls.get(key)
        if call is not None and name and call.is_other(identity):
            self._calls[key, len(self._calls)] = self._calls.pop(key)  # it had its place, and is complete
            call = None
        if call is None:
            if len(self._calls) >= MOST_CALLS:
                if name:
                    self._name(Call(identity), name)
                return None
            call = self._calls[key] = Call(identity)
        self._last_call = key
        if call.label is None and name:
            self._name(call, name)
        return call

    def _name(self, call: Call, name: object) -> None:
        words = self._words
        memory = isinstance(name, str) and name in words.memory_tools
        label = name if isinstance(name, str) and (memory or name in words.tools) else OTHER
        call.label = label
        self.tools[label] = self.tools.get(label, 0) + 1
        self._notice("tool_call", label)
        if memory:
            self._count_memory("tool_call")

    def _add_arguments(self, call: Call | None, arguments: object) -> None:
        if call is None or arguments is None:
            return
        if type(arguments) is not str:  # some servers send the object itself; anything else is none
            arguments = "{}" if isinstance(arguments, dict) else "\0"
        self._arguments += len(arguments)
        if self._arguments > LONGEST_ARGUMENTS:
            call.give_up()
        else:
            call.add(arguments)
