"""Choosing what to play: by a directive in the prompt, a rule, an edit, a tool's result, a fitting tool.

A script is TOML::

    [[rule]]
    prompt = 'weather in (?P<city>\\w+)'     # a regular expression, searched in the last prompt, case ignored
    rehearse = "tool-fragments"              # the scene to start from; "plain" if absent
    [rule.answer]                            # any field of an Answer replaces the scene's
    text = "I look at the sky over {city}."  # {prompt} and the groups' names are filled in
    tokens_per_second = 20

Rules are tried from the top; the built-in ones follow those of a file.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from difflib import get_close_matches
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

import msgspec

from hadesgw.demo.answer import Answer
from hadesgw.demo.conversation import Call, Conversation
from hadesgw.demo.editing import next_step
from hadesgw.demo.listing import listing
from hadesgw.demo.scenes import MEMORY_TOOLS, SCENES, Stage, memory_call, plain, scene
from hadesgw.demo.specimen import specimen
from hadesgw.demo.toolcalls import call_of, fitting_tool

_DIRECTIVE: Final = re.compile(r"\brehearse:\s*([\w-]{1,40})((?:[ \t]+[a-z_]{1,40}=[\d.]{1,12})*)", re.IGNORECASE)
_UNKNOWN: Final = re.compile(r"Object contains unknown field `(.*)`")
_QUOTED: Final = 600


class ScriptError(ValueError):
    """A script file cannot be used; the message names the place and what was expected."""


class Rule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When to play what.

    :ivar prompt: regular expression to be found in the last prompt; "" fits any.
    :ivar system: regular expression to be found in the system messages; "" fits any.
    :ivar after_tool: whether the rule is for requests that end in tools' results (True) or in a prompt
        (False).
    :ivar rehearse: the scene to start from.
    :ivar answer: what replaces the scene's own fields.
    """

    prompt: str = ""
    system: str = ""
    after_tool: bool = False
    rehearse: str = "plain"
    answer: dict[str, Any] = {}

    def match(self, conversation: Conversation) -> dict[str, str] | None:
        """The named groups of both expressions if the rule fits, else None."""
        if self.after_tool != bool(conversation.results):
            return None
        prompt = re.search(self.prompt, conversation.prompt, re.IGNORECASE)
        system = re.search(self.system, conversation.system, re.IGNORECASE)
        if prompt is None or system is None:
            return None
        return {**system.groupdict(""), **prompt.groupdict("")}


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    rule: tuple[Rule, ...] = ()


class Script(msgspec.Struct, frozen=True):
    """Rules in the order they are tried."""

    rules: tuple[Rule, ...]


def _checked(index: int, rule: Rule) -> None:
    where = f"rule {index}"
    for key in ("prompt", "system"):
        try:
            re.compile(getattr(rule, key))
        except re.error as error:
            raise ScriptError(f"{where}: {key}: expected a regular expression, {error}") from error
    if scene(rule.rehearse) is None:
        raise ScriptError(f"{where}: rehearse: expected one of {', '.join((*SCENES, *MEMORY_TOOLS))}")
    try:
        msgspec.convert(rule.answer, Answer)
    except msgspec.ValidationError as error:
        raise ScriptError(f"{where}: {_explained(error, 'answer')}") from error


def _explained(error: msgspec.ValidationError, within: str) -> str:
    """msgspec's words, with the place before them, and rules counted from 1."""
    said, _, path = str(error).partition(" - at `$")
    place = f"{within}{path.rstrip('`')}".lstrip(".")
    unknown = _UNKNOWN.fullmatch(said)
    if unknown is not None:
        place = f"{place}.{unknown[1]}".lstrip(".")
        close = get_close_matches(unknown[1], ("rule", *Rule.__struct_fields__, *Answer.__struct_fields__), 1)
        said = "expected no unknown key" + (f"; did you mean {close[0]}?" if close else "")
    place = re.sub(r"^rule\[(\d+)\]\.?", lambda at: f"rule {int(at[1]) + 1}: ", place)
    return f"{place.removesuffix(': ')}: {said[0].lower()}{said[1:]}"


def parse(text: str) -> Script:
    """A script from its TOML text.

    :raises ScriptError: if it is no TOML, has an unknown key, a wrong type, a bad expression or an unknown
        scene.
    """
    try:
        rules = msgspec.convert(tomllib.loads(text), _File).rule
    except msgspec.ValidationError as error:
        raise ScriptError(_explained(error, "")) from error
    except (ValueError, RecursionError) as error:  # TOMLDecodeError, and int's own refusal of thousands of digits
        raise ScriptError(f"expected valid TOML: {error}") from error
    for index, rule in enumerate(rules, start=1):
        _checked(index, rule)
    return Script(rules)


def read_script(path: Path) -> Script:
    """The rules of a file.

    :raises ScriptError: in a line that begins with the file's name, if it cannot be read or :func:`parse` refuses it.
    """
    try:
        return parse(path.read_text("utf-8"))
    except OSError as error:
        raise ScriptError(f"{path}: expected a readable file: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ScriptError(f"{path}: expected UTF-8") from None
    except ScriptError as error:
        raise ScriptError(f"{path}: {error}") from None


def built_in() -> Script:
    """The rules that are always there."""
    return parse(files("hadesgw.demo").joinpath("script.toml").read_text("utf-8"))


def _directive(conversation: Conversation) -> tuple[str, dict[str, float]] | None:
    """The scene's name and the numbers of the last ``rehearse:`` in the prompt."""
    found = list(_DIRECTIVE.finditer(conversation.prompt))
    if not found or conversation.results:
        return None
    name, pairs = found[-1].groups()
    numbers = {}
    for pair in pairs.split():
        key, _, digits = pair.partition("=")
        try:
            numbers[key] = float(digits) if "." in digits else int(digits)
        except ValueError:
            continue
    return name.lower(), numbers


def _with(answer: Answer, changes: Mapping[str, Any]) -> Answer:
    """`answer` with some fields replaced, held to their types.

    :raises msgspec.ValidationError: if a field is unknown or its value is not allowed.
    """
    return msgspec.convert({**msgspec.to_builtins(answer), **changes}, Answer)


def _directed(stage: Stage, name: str, numbers: Mapping[str, float]) -> Answer:
    play = scene(name)
    if play is None:
        return Answer(text=f"I have no rehearsal of that name. I have: {', '.join((*SCENES, *MEMORY_TOOLS))}.")
    try:
        return _with(play(stage), numbers)
    except msgspec.ValidationError as error:
        return Answer(text=f"I know that rehearsal, but not with these numbers: {error}.")


def _fill(text: str, groups: Mapping[str, str]) -> str:
    for name, value in groups.items():
        text = text.replace("{" + name + "}", value)
    return text


def _ruled(stage: Stage, rule: Rule, groups: Mapping[str, str]) -> Answer:
    play = scene(rule.rehearse) or plain
    answer = _with(play(stage), rule.answer)
    named = {"prompt": stage.conversation.prompt, **groups}
    calls = tuple(Call(call.name, _fill(call.arguments, named)) for call in answer.calls)
    text, reasoning = _fill(answer.text, named), _fill(answer.reasoning, named)
    return msgspec.structs.replace(answer, text=text, reasoning=reasoning, calls=calls)


def _quoting(conversation: Conversation) -> Answer:
    """The closing answer that quotes what the tools said."""
    quoted = "\n\n".join(
        "\n".join(f"> {line}" for line in result.strip()[:_QUOTED].splitlines()) or "> (nothing)"
        for result in conversation.results[-4:]
    )
    return Answer(text=f"The rehearsal model read the result of the tool:\n\n{quoted}\n\nNothing more is to be done.")


def _under_pressure(conversation: Conversation) -> bool:
    """Whether the last message is a memory warning as HADES or Letta word it, with the tools to answer it."""
    last = conversation.messages[-1] if conversation.messages else None
    if last is None or last.role not in ("system", "user") or conversation.tool("evict_fifo") is None:
        return False
    return re.search(r'"type"\s*:\s*"(?:system_alert|warning|flush)"', last.text[:2_000]) is not None


def _of_its_own(stage: Stage) -> Answer:
    """What the model does when neither a directive nor a rule says so."""
    conversation = stage.conversation
    step = next_step(conversation) or listing(conversation)
    if step is not None:
        return step
    if conversation.results:
        return _quoting(conversation)
    if _under_pressure(conversation):
        return Answer(calls=(memory_call("evict_fifo"), memory_call("write_recall")))
    tool = fitting_tool(conversation)
    return Answer(calls=(call_of(tool, conversation.prompt),)) if tool else plain(stage)


def _formed(answer: Answer, conversation: Conversation) -> Answer:
    """`answer` with a text that fits the schema the client asks for, as guided decoding would make it."""
    if conversation.schema is None or not answer.text or answer.calls:
        return answer
    return msgspec.structs.replace(answer, text=specimen(conversation.schema, conversation.prompt), tokens=0)


def choose(script: Script, stage: Stage) -> Answer:
    """What to answer. The same stage gets the same answer, always."""
    answer = _chosen(script, stage)
    if stage.conversation.one_call:  # vLLM drops the others, whatever its model writes
        answer = msgspec.structs.replace(answer, calls=answer.calls[:1])
    return answer


def _chosen(script: Script, stage: Stage) -> Answer:
    conversation = stage.conversation
    directive = _directive(conversation)
    if directive is not None:
        return _formed(_directed(stage, *directive), conversation)
    for rule in script.rules:
        groups = rule.match(conversation)
        if groups is not None:
            answer = _ruled(stage, rule, groups)
            return answer if "text" in rule.answer else _formed(answer, conversation)
    return _formed(_of_its_own(stage), conversation)
