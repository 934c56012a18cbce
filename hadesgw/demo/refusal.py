"""Refusing a request in vLLM's words: its statuses, its error objects, its lists of what is not valid."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Final

_TYPES: Final = {
    400: "BadRequestError",
    404: "NotFoundError",
    429: "RateLimitError",
    503: "ServiceUnavailableError",
}
_SHOWN: Final = 64


class Refusal(Exception):
    """The request is answered with an error.

    :ivar status: HTTP status code.
    :ivar message: what the error object says.
    :ivar kind: its ``type``.
    :ivar param: the request field at fault, or None.
    :ivar retry_after: whole seconds for ``Retry-After``, or None.
    :ivar literal: a whole JSON body that stands in for the error object, or None.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        kind: str = "",
        param: str | None = None,
        retry_after: int | None = None,
        literal: str | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.kind = kind or _TYPES.get(status, "InternalServerError")
        self.param = param
        self.retry_after = retry_after
        self.literal = literal

    def body(self) -> str:
        """The JSON body in the form of OpenAI's API as vLLM writes it."""
        if self.literal is not None:
            return self.literal
        error = {"message": self.message, "type": self.kind, "param": self.param, "code": self.status}
        return dump({"error": error})

    def anthropic_body(self) -> str:
        """The JSON body on the Messages routes; what the schema forbids is said there as everywhere."""
        if self.literal is not None or self.kind == "Bad Request":
            return self.body()
        return dump({"type": "error", "error": {"type": self.kind, "message": self.message}})


def dump(value: object) -> str:
    """`value` as compact JSON in raw UTF-8, the way vLLM writes it."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def bad_parameter(param: str, value: object, message: str) -> Refusal:
    """A field has the right type and a value that cannot be served."""
    return Refusal(400, f"{message} (parameter={param}, value={value})", param=param)


def unknown_model(name: str, models: tuple[str, ...]) -> Refusal:
    """Another model is asked for than the ones served."""
    message = f"The model `{name}` does not exist. Valid aliases: {', '.join(models)}."
    return Refusal(404, message, param="model")


def _shown(value: object) -> str:
    if isinstance(value, dict | list):
        return f"<{type(value).__name__} of {len(value)} items>"
    return str(value)[:_SHOWN]


def invalid(problems: list[dict[str, Any]]) -> Refusal:
    """The schema forbids the document, for these :func:`problem` entries in the order they were found."""
    plural = "" if len(problems) == 1 else "s"
    listing = "\n".join(f"  {problem}" for problem in problems)
    message = f"{len(problems)} validation error{plural}:\n{listing}"
    return Refusal(400, message, kind="Bad Request", param=problems[0]["loc"])


def problem(kind: str, loc: str, message: str, value: object, **context: object) -> dict[str, Any]:
    """One entry of :func:`invalid`."""
    entry: dict[str, Any] = {"type": kind, "loc": loc, "msg": message, "input": _shown(value)}
    return {**entry, "ctx": context} if context else entry


def wrong(kind: str, loc: str, message: str, value: object) -> Refusal:
    """A single field is not what the schema says."""
    return invalid([problem(kind, loc, message, value)])


def decode(body: bytes, content_type: str) -> dict[str, Any]:
    """The JSON object of a request body.

    :raises Refusal: in the form vLLM gives an empty body, JSON that does not parse, another media type, no
        object.
    """
    if content_type.partition(";")[0].strip().lower() != "application/json":
        message = "1 validation error:\n  Unsupported Media Type: Only 'application/json' is allowed"
        raise Refusal(400, message, kind="Bad Request")
    if not body:
        raise wrong("missing", "body", "Field required", None)
    try:
        document = json.loads(body.decode())
        if b"\\u" in body:
            json.dumps(document, ensure_ascii=False).encode()  # a lone surrogate parses, but is no text
    except json.JSONDecodeError as error:
        found = problem("json_invalid", f"body.{error.pos}", "JSON decode error", {}, error=error.msg)
        raise invalid([found]) from None
    except (ValueError, RecursionError):
        raise Refusal(400, "", literal='{"detail":"There was an error parsing the body"}') from None
    if not isinstance(document, dict):
        words = "Input should be a valid dictionary or object to extract fields from"
        raise wrong("model_attributes_type", "body", words, document)
    return document


# -- Field types: each takes a value and its place, and gives None or the problem
Check = Callable[[object, str], dict[str, Any] | None]


def _parses(value: str, reader: Callable[[str], object]) -> bool:
    try:
        reader(value)
    except ValueError:
        return False
    return True


def a_number(value: object, loc: str) -> dict[str, Any] | None:
    """A JSON number, or a string that reads as one."""
    if isinstance(value, int | float) or (isinstance(value, str) and _parses(value, float)):
        return None
    if isinstance(value, str):
        words = "Input should be a valid number, unable to parse string as a number"
        return problem("float_parsing", loc, words, value)
    return problem("float_type", loc, "Input should be a valid number", value)


def an_integer(value: object, loc: str) -> dict[str, Any] | None:
    """A JSON number without a fraction, or a string that reads as one."""
    if isinstance(value, str):
        if _parses(value, int):
            return None
        words = "Input should be a valid integer, unable to parse string as an integer"
        return problem("int_parsing", loc, words, value)
    if isinstance(value, float) and not value.is_integer():
        words = "Input should be a valid integer, got a number with a fractional part"
        return problem("int_from_float", loc, words, value)
    if isinstance(value, int | float):
        return None
    return problem("int_type", loc, "Input should be a valid integer", value)


def a_boolean(value: object, loc: str) -> dict[str, Any] | None:
    """true or false."""
    return None if isinstance(value, bool) else problem("bool_type", loc, "Input should be a valid boolean", value)


def a_string(value: object, loc: str) -> dict[str, Any] | None:
    """A string."""
    return None if isinstance(value, str) else problem("string_type", loc, "Input should be a valid string", value)


def a_list(value: object, loc: str) -> dict[str, Any] | None:
    """An array."""
    return None if isinstance(value, list) else problem("list_type", loc, "Input should be a valid list", value)


def a_mapping(value: object, loc: str) -> dict[str, Any] | None:
    """An object."""
    words = "Input should be a valid dictionary"
    return None if isinstance(value, dict) else problem("dict_type", loc, words, value)


def mappings(value: object, loc: str) -> dict[str, Any] | None:
    """An array of objects."""
    if not isinstance(value, list):
        return a_list(value, loc)
    found = (a_mapping(entry, f"{loc}.{index}") for index, entry in enumerate(value))
    return next(filter(None, found), None)


def anything(value: object, loc: str) -> None:
    """Any JSON value."""


def check(document: Mapping[str, Any], fields: Mapping[str, Check], required: tuple[str, ...]) -> None:
    """Hold a document against its schema; null counts as absent, unknown fields pass.

    :raises Refusal: with every field at fault.
    """
    problems = []
    for name, field in fields.items():
        loc = f"body.{name}"
        value = document.get(name)
        if value is not None:
            found = field(value, loc)
        else:
            found = problem("missing", loc, "Field required", document) if name in required else None
        if found is not None:
            problems.append(found)
    if problems:
        raise invalid(problems)
