"""What a request orders, whatever protocol it came in, and the checks that the protocols share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from hadesgw.demo import refusal, tokenizer
from hadesgw.demo.conversation import Call, Conversation, Message, Tool
from hadesgw.demo.refusal import Check, Refusal, a_boolean, a_mapping, a_number, an_integer, anything


class House(msgspec.Struct, frozen=True):
    """What is served here.

    :ivar models: the names the model answers to; the first is the default.
    :ivar context_tokens: prompt and answer together may have so many tokens.
    """

    models: tuple[str, ...]
    context_tokens: int


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """A request that was understood and can be served.

    :ivar document: the JSON object as the client sent it.
    :ivar conversations: what is to be answered; only completions may have several prompts.
    :ivar prompt_tokens: the prompt's length; ``limit`` the most tokens of one answer.
    :ivar stop: stop strings; ``keep_stop`` leaves them in the text; ``ignore_end`` goes on to the limit.
    :ivar choices: how many answers are wanted.
    :ivar include_usage: whether a stream ends with its usage; ``continuous_usage`` whether every event has
        it.
    """

    document: dict[str, Any]
    model: str
    conversations: tuple[Conversation, ...]
    prompt_tokens: int
    limit: int
    stream: bool
    stop: tuple[str, ...] = ()
    keep_stop: bool = False
    ignore_end: bool = False
    choices: int = 1
    include_usage: bool = False
    continuous_usage: bool = False

    @property
    def conversation(self) -> Conversation:
        """The conversation, where there can be only one."""
        return self.conversations[0]

    def asked(self, choice: int) -> Conversation:
        """The conversation that a choice answers."""
        return self.conversations[choice * len(self.conversations) // self.choices]


# Fields that every generating route knows, with the types vLLM holds them to.
SAMPLING: Final[Mapping[str, Check]] = {
    "temperature": a_number,
    "top_p": a_number,
    "stream": a_boolean,
    "stream_options": a_mapping,
    "presence_penalty": a_number,
    "frequency_penalty": a_number,
    "seed": an_integer,
    "n": an_integer,
    "ignore_eos": a_boolean,
    "include_stop_str_in_output": a_boolean,
    "model": refusal.a_string,
    "stop": anything,
}
_MOST_CHOICES: Final = 64


def model_of(document: Mapping[str, Any], house: House) -> str:
    """The model a document asks for; vLLM takes a missing one for its default.

    :raises Refusal: 404 for any other model.
    """
    name = document.get("model")
    if not name:
        return house.models[0]
    if name not in house.models:
        raise refusal.unknown_model(name, house.models)
    return str(name)


def whole(document: Mapping[str, Any], name: str) -> int | None:
    """An integer field that was checked by :func:`refusal.check`, or None."""
    value = document.get(name)
    return None if value is None else int(value)


def check_sampling(document: Mapping[str, Any]) -> None:
    """Hold the sampling fields against their ranges.

    :raises Refusal: in vLLM's words for the first one out of range.
    """
    ranges = (
        ("temperature", 0.0, float("inf"), "must be non-negative"),
        ("top_p", 5e-324, 1.0, "must be in (0, 1]"),
        ("presence_penalty", -2.0, 2.0, "must be in [-2, 2]"),
        ("frequency_penalty", -2.0, 2.0, "must be in [-2, 2]"),
    )
    for name, low, high, words in ranges:
        value = None if document.get(name) is None else float(document[name])
        if value is not None and not low <= value <= high:
            raise refusal.bad_parameter(name, value, f"{name} {words}, got {value}.")
    choices = whole(document, "n")
    if choices is not None and choices < 1:
        raise refusal.bad_parameter("n", choices, f"n must be at least 1, got {choices}.")
    if choices is not None and choices > _MOST_CHOICES:
        raise refusal.bad_parameter("n", choices, f"n must be at most {_MOST_CHOICES}, got {choices}.")


def room(house: House, prompt_tokens: int, asked: int | None, *, param: str = "max_tokens") -> int:
    """The most tokens an answer may have.

    :param prompt_tokens: counted exactly up to the context's length plus one, where counting may have
        stopped.
    :param asked: what the client asked for, or None.
    :raises Refusal: if prompt and answer do not fit the context together.
    """
    context = house.context_tokens
    if asked is not None and asked < 1:
        raise refusal.bad_parameter(param, asked, f"{param} must be at least 1, got {asked}.")
    if asked is not None and asked > context:
        words = f"{param}={asked} cannot be greater than max_model_len={context}."
        raise refusal.bad_parameter(param, asked, f"{words} Please request fewer output tokens.")
    opening = f"This model's maximum context length is {context} tokens. However, "
    if prompt_tokens > context:
        words = (
            f"{opening}your prompt contains at least {context + 1} input tokens, which exceeds this limit "
            "even without any output tokens. Please reduce the length of the input prompt."
        )
        raise refusal.bad_parameter("input_tokens", context + 1, words)
    wanted = asked or 1
    if prompt_tokens + wanted > context:
        least = context - wanted + 1
        words = (
            f"{opening}you requested {wanted} output tokens and your prompt contains at least {least} input "
            f"tokens, for a total of at least {context + 1} tokens. Please reduce the length of the input "
            "prompt or the number of requested output tokens."
        )
        raise refusal.bad_parameter("input_tokens", least, words)
    return asked if asked is not None else context - prompt_tokens


def measured(house: House, messages: tuple[Message, ...], tools: tuple[Tool, ...]) -> int:
    """The length of a chat's prompt in tokens; counting stops one past the context."""
    text = tokenizer.template(messages, tools, ask=True)
    return tokenizer.count(text, house.context_tokens + 1)


def stop_strings(document: Mapping[str, Any]) -> tuple[str, ...]:
    """The stop strings: one, several or none."""
    stop = document.get("stop")
    if isinstance(stop, str):
        return (stop,)
    return tuple(word for word in stop if isinstance(word, str)) if isinstance(stop, list) else ()


def stream_options(document: Mapping[str, Any]) -> tuple[bool, bool]:
    """Whether a stream ends with usage, and whether every event carries it.

    :raises Refusal: if the options come without a stream.
    """
    options = document.get("stream_options")
    if options is None:
        return False, False
    if not document.get("stream"):
        message = "Stream options can only be defined when `stream=True`. (parameter=stream_options)"
        raise Refusal(400, message, param="stream_options")
    include = bool(options.get("include_usage"))
    return include, include and bool(options.get("continuous_usage_stats"))


def schema_of(form: object) -> dict[str, Any] | None:
    """The JSON Schema that an answer's text must fit, by the format asked for; None if any text will do.

    :param form: `response_format`, the `format` of Responses' `text`, or of Messages' `output_config`.
    """
    if not isinstance(form, dict):
        return None
    if form.get("type") == "json_object":
        return {"type": "object"}
    if form.get("type") != "json_schema":
        return None
    within = form.get("json_schema", form)
    schema = within.get("schema") if isinstance(within, dict) else None
    return schema if isinstance(schema, dict) else None


def text_of(content: object, loc: str, house: House) -> str:
    """The text of a message's content: a string, null, or a list of text parts.

    :raises Refusal: for pictures and sounds, and for anything that is no content.
    """
    if content is None or isinstance(content, str):
        return content or ""
    if not isinstance(content, list):
        raise refusal.wrong("string_type", loc, "Input should be a valid string", content)
    texts = []
    for part in content:
        if isinstance(part, str):
            texts.append(part)
        elif isinstance(part, dict) and isinstance(part.get("text"), str):
            texts.append(part["text"])
        elif isinstance(part, dict) and part.get("type") in ("refusal", "thinking", "redacted_thinking"):
            continue
        elif isinstance(part, dict):
            raise Refusal(400, f"{house.models[0]} is not a multimodal model")
        else:
            raise refusal.wrong("dict_type", loc, "Input should be a valid dictionary", part)
    return "\n".join(texts)


def tool_of(function: object, loc: str, *, schema: str = "parameters") -> Tool:
    """A tool from its definition.

    :param schema: under which key the protocol keeps the arguments' schema.
    :raises Refusal: if it has no name.
    """
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise refusal.wrong("missing", f"{loc}.name", "Field required", function)
    parameters = function.get(schema)
    described = function.get("description")
    return Tool(
        function["name"],
        described if isinstance(described, str) else "",
        parameters if isinstance(parameters, dict) else {},
    )


def call_from(name: object, arguments: object) -> Call:
    """A call in the history, whatever the client made of it."""
    return Call(str(name or ""), arguments if isinstance(arguments, str) else refusal.dump(arguments or {}))
