"""What a request asks of the model: its body, judged by the fields we decide on; all others are the model server's.

The body itself is never changed by being read. What passes here may still be refused by the model server, in its own
words; what is refused here would cost it dearly, mean two things to two readers, or reach what is none of the client's.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import msgspec
from msgspec import Raw, Struct

from hadesgw.policy import refusals
from hadesgw.policy.conversation import Talk, read_talk, read_talks, refuse_parts
from hadesgw.policy.json_object import ObjectReader, characters, check_depth, decoded
from hadesgw.policy.refusals import Refused, bad_parameter, refused_field

MOST_STOPS = 16
"""Stop sequences a request may have; OpenAI and vLLM bear four."""
LONGEST_STOP = 1024
"""Characters of one of them: each is looked for after every token."""
MOST_LOGPROBS = 20
"""Alternatives that may be asked for with each token; OpenAI's limit, and vLLM's unless it is started with another."""
MOST_FUNCTIONS = 128
"""Functions in OpenAI's older form of tools."""


class BodyLimits(Struct, frozen=True):
    """What the configuration says about bodies.

    :ivar choices: the most answers one request may ask for.
    :ivar remote_media: whether the model server may be sent to fetch pictures, sounds and files.
    :ivar refused_fields: members no request may have, nor a part of its conversation.
    """

    choices: int
    remote_media: bool
    refused_fields: frozenset[str]


class Asked(Struct, gc=False):
    """What one request asks for.

    :ivar route: where it was sent to.
    :ivar members: the body's members, unread.
    :ivar characters: the body's length in characters.
    :ivar talk: what its members say that carry the conversation.
    :ivar prompts: of a plain completion: texts, or numbers of tokens where the client has done the counting.
    :ivar output: the most tokens of one answer, or None where nothing is said.
    :ivar choices: how many answers.
    """

    route: Route
    members: Mapping[str, Raw]
    characters: int
    model: str
    stream: bool
    output: int | None
    choices: int
    talk: list[Talk]
    prompts: list[str | int]


# -- Fields: each is read by a function that raises ValueError for "not so" --------------------------------------------


class Rule(NamedTuple):
    """How a field must be.

    :ivar words: completes "FIELD must be ...".
    :ivar read: takes the JSON text of a value that is not null.
    """

    words: str
    read: Callable[[bytes], object]


def _number(text: bytes) -> float:
    if text[0] not in b"-0123456789":
        raise ValueError
    return float(text)


def _whole(text: bytes) -> int:
    """A whole number, however it is written: `8`, `8.0` and `8e0` are the same number of JSON (RFC 8259 6)."""
    if len(text) < 19 and text.isdigit():
        return int(text)
    number = _number(text)
    if not math.isfinite(number) or number != int(number):
        raise ValueError
    return int(number)


def _whole_from(least: int, most: float = math.inf) -> Callable[[bytes], int]:
    def read(text: bytes) -> int:
        number = _whole(text)
        if not least <= number <= most:
            raise ValueError
        return number

    return read


def _penalty(text: bytes) -> float:
    number = _number(text)
    if not -2 <= number <= 2:
        raise ValueError
    return number


def _boolean(text: bytes) -> bool:
    if text not in (b"true", b"false"):
        raise ValueError
    return text == b"true"


class _Function(Struct):
    name: str


_STOPS = msgspec.json.Decoder(str | list[str])
_FUNCTIONS = msgspec.json.Decoder(list[_Function])
_OBJECT = msgspec.json.Decoder(dict[str, Raw])


def _stops(text: bytes) -> None:
    if len(text) > MOST_STOPS * (6 * LONGEST_STOP + 8):  # not even if every character is escaped
        raise ValueError
    stops = _STOPS.decode(text)
    if isinstance(stops, str):
        stops = [stops]
    if len(stops) > MOST_STOPS or any(len(stop) > LONGEST_STOP for stop in stops):
        raise ValueError


def _functions(text: bytes) -> None:
    check_depth(text)
    if len(_FUNCTIONS.decode(text)) > MOST_FUNCTIONS:
        raise ValueError


def _never(text: bytes) -> None:
    raise ValueError


def _false(text: bytes) -> None:
    if text != b"false":
        raise ValueError


def _without(refused: frozenset[str]) -> Callable[[bytes], None]:
    def read(text: bytes) -> None:
        check_depth(text)
        for name in _OBJECT.decode(text):
            if name in refused:
                raise Refused(refused_field(name))

    return read


_ANY = Rule("anything", check_depth)  # asked of lists and objects alone
_NEVER = Rule("null", _never)
_POSITIVE = Rule("a whole number of at least 1", _whole_from(1))
_BOOLEAN = Rule("true or false", _boolean)
_PENALTY = Rule("a number from -2 to 2", _penalty)
_LOGPROBS = Rule(f"a whole number from 0 to {MOST_LOGPROBS}", _whole_from(0, MOST_LOGPROBS))
_STOP = Rule(f"a text, or up to {MOST_STOPS}, of at most {LONGEST_STOP} characters", _stops)
_FUNCTION_LIST = Rule(f"a list of up to {MOST_FUNCTIONS} named functions", _functions)
_ATTENDED = Rule("false, because what is made in the background holds no slot and cannot be asked for", _false)


# -- Routes ------------------------------------------------------------------------------------------------------------


class Route(Struct, frozen=True):
    """A path of the model server's, and what is decided on there.

    :ivar rules: by field.
    :ivar choices: the fields that say how many answers are wanted.
    :ivar output: the fields that say how long an answer may become, the usual one first; none where the model writes
        nothing.
    :ivar talk: the fields that carry a conversation.
    :ivar prompt: the field that carries texts to go on with.
    :ivar embedded: the field that carries texts, tokens, or whole conversations, of which nothing is to be written.
    """

    rules: Mapping[str, Rule]
    choices: tuple[str, ...] = ()
    output: tuple[str, ...] = ()
    talk: tuple[str, ...] = ()
    prompt: str = ""
    embedded: str = ""


_SAMPLING = {"stream": _BOOLEAN, "frequency_penalty": _PENALTY, "presence_penalty": _PENALTY, "stop": _STOP}

CHAT = Route(
    {
        **_SAMPLING,
        "logprobs": _BOOLEAN,
        "top_logprobs": _LOGPROBS,
        "prompt_logprobs": _LOGPROBS,
        "functions": _FUNCTION_LIST,
    },
    choices=("n", "best_of"),
    output=("max_tokens", "max_completion_tokens"),
    talk=("messages",),
)
COMPLETIONS = Route(
    {**_SAMPLING, "logprobs": _LOGPROBS, "prompt_logprobs": _LOGPROBS},
    choices=("n", "best_of"),
    output=("max_tokens",),
    prompt="prompt",
)
RESPONSES = Route(
    {**_SAMPLING, "top_logprobs": _LOGPROBS, "background": _ATTENDED},
    output=("max_output_tokens",),
    talk=("instructions", "input", "previous_input_messages"),
)
MESSAGES = Route({"stream": _BOOLEAN, "stop_sequences": _STOP}, output=("max_tokens",), talk=("system", "messages"))
COUNT_TOKENS = Route({}, talk=("system", "messages"))
EMBEDDINGS = Route({}, talk=("messages",), embedded="input")

ROUTES: Mapping[bytes, Route] = {
    b"/v1/chat/completions": CHAT,
    b"/v1/completions": COMPLETIONS,
    b"/v1/responses": RESPONSES,
    b"/v1/messages": MESSAGES,
    b"/v1/messages/count_tokens": COUNT_TOKENS,
    b"/v1/embeddings": EMBEDDINGS,
}
"""The paths whose requests are read."""


# -- Reading -----------------------------------------------------------------------------------------------------------

_MODEL = msgspec.json.Decoder(str)
_PROMPTS = msgspec.json.Decoder(str | list[str | int | list[int]] | None)
_BAD_PROMPT = bad_parameter("prompt", "a text, a list of texts, a list of tokens, or a list of such lists")
_NULL = b"null"


class BodyReader:
    """Reads the bodies sent to one route, one after the other.

    :param route: which.
    :param limits: what is allowed.
    """

    def __init__(self, route: Route, limits: BodyLimits) -> None:
        self._route = route
        self._limits = limits
        self._read_object = ObjectReader().read
        choices = Rule(f"a whole number from 1 to {limits.choices}", _whole_from(1, limits.choices))
        self._rules: dict[str, Rule | None] = {
            **route.rules,
            **dict.fromkeys(route.choices, choices),
            **dict.fromkeys(route.output, _POSITIVE),
            "vllm_xargs": Rule("an object", _without(limits.refused_fields)),  # vLLM takes them as if they stood beside
            **dict.fromkeys(limits.refused_fields, _NEVER),
            **dict.fromkeys(("model", route.prompt, route.embedded, *route.talk)),  # these are read apart
        }

    def read(self, body: bytes) -> Asked:
        """What `body` asks for.

        :raises Refused: if it asks in a way, or for something, that is not allowed.
        """
        count = characters(body)
        members = self._read_object(body)
        model = _model(members.get("model"))
        route, values = self._route, self._values(members)
        choices = _greatest(values, route.choices) or 1
        talk = [self._talk(members[name]) for name in route.talk if name in members]
        if route.embedded in members:
            self._see_embedded(members[route.embedded])
        return Asked(
            route,
            members,
            count,
            model,
            values.get("stream", False),
            _greatest(values, route.output),
            choices,
            talk,
            self._prompts(members[route.prompt], choices) if route.prompt in members else [],
        )

    def _values(self, members: Mapping[str, Raw]) -> dict[str, Any]:
        """The values of the fields that have a rule and are not null."""
        values: dict[str, Any] = {}
        rules = self._rules
        for name, value in members.items():
            rule = rules.get(name, _ANY)
            if rule is None:
                continue
            text = bytes(value)
            if text == _NULL or (rule is _ANY and text[0] not in b"[{"):
                continue
            try:
                values[name] = rule.read(text)
            except ValueError:
                told = str(name)  # a text like any other
                raise Refused(refused_field(told) if rule is _NEVER else bad_parameter(told, rule.words)) from None
        return values

    def _talk(self, value: Raw) -> Talk:
        talk = read_talk(value, self._limits.remote_media)
        refuse_parts(talk, self._limits.refused_fields)
        return talk

    def _see_embedded(self, value: Raw) -> None:
        """Texts and tokens may be many, and are not looked into; vLLM takes one conversation as well, or several."""
        if b"{" not in bytes(value):
            return
        try:
            _PROMPTS.decode(value)
        except (msgspec.DecodeError, RecursionError):
            for talk in read_talks(value, self._limits.remote_media):
                refuse_parts(talk, self._limits.refused_fields)

    def _prompts(self, value: Raw, choices: int) -> list[str | int]:
        """The prompts of a plain completion, each as its text or as its number of tokens."""
        given = decoded(_PROMPTS, value, _BAD_PROMPT)
        if not isinstance(given, list):
            return [] if given is None else [given]
        kinds = {type(item) for item in given}
        if len(kinds) > 1:
            raise Refused(_BAD_PROMPT)
        if kinds == {int}:
            return [len(given)]
        if len(given) * choices > self._limits.choices:
            most = f"so few that no more than {self._limits.choices} answers are asked for"
            raise Refused(bad_parameter("prompt", most))
        return [item if isinstance(item, str) else len(item) for item in given]


def _greatest(values: dict[str, Any], names: tuple[str, ...]) -> int | None:
    greatest: int | None = None
    for name in names:
        value = values.get(name)
        if value is not None and (greatest is None or value > greatest):
            greatest = value
    return greatest


def _model(value: Raw | None) -> str:
    if value is None or bytes(value) in (_NULL, b'""'):
        raise Refused(refusals.NO_MODEL)
    try:
        return _MODEL.decode(value)
    except msgspec.DecodeError:
        raise Refused(bad_parameter("model", "a text")) from None


# -- Writing -----------------------------------------------------------------------------------------------------------


def with_output(asked: Asked, body: bytes, tokens: int) -> bytes:
    """`body` with a limit on its output, for a request that names none. Nothing else of it changes.

    The limit stands last: where the only field for it is there and null, readers of JSON take the later one.

    :param body: what `asked` was read from.
    """
    names = [name for name in asked.route.output if name not in asked.members]
    name = names[0] if names else asked.route.output[0]
    end = body.rindex(b"}")
    return b"".join((memoryview(body)[:end], b',"%b":%d' % (name.encode("ascii"), tokens), body[end:]))


# -- The type of a body ------------------------------------------------------------------------------------------------

_PARAMETER = rb'charset=(?:utf-?8|"utf-?8")|(?!charset=)[a-z0-9!#$%&\'*+.^_`|~-]++=[!-:<-~]++'
_JSON_TYPE = re.compile(rb"(?i)application/json[ \t]*+(?:;[ \t]*+(?:" + _PARAMETER + rb")?[ \t]*+)*+")


@lru_cache(64)  # a program says the same each time
def _is_json(content_type: bytes) -> bool:
    return _JSON_TYPE.fullmatch(content_type) is not None


def is_json(content_type: Sequence[bytes]) -> bool:
    """Whether a request says that its body is JSON (RFC 8259 11); another charset than UTF-8 contradicts that.

    A page can send a body of this type to another origin only after asking first (Fetch, "CORS-safelisted").

    :param content_type: the values of its `Content-Type` fields.
    """
    return len(content_type) == 1 and _is_json(content_type[0])
