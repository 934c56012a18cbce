"""A value that fits a JSON Schema, as far as usual schemas go; what the schema leaves open comes from the prompt."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from math import inf
from typing import Any, Final

_NUMBER: Final = re.compile(r"-?\d+(?:\.\d+)?")
_FILE: Final = re.compile(r"[\w.-]*(?:/[\w.-]+)+|\w[\w-]*\.[A-Za-z]\w{0,7}")
_PLACE: Final = re.compile(r"\b(?:in|at|for|of|from|to|near|about)\s+([A-Z][\w-]*(?:\s+[A-Z][\w-]*)*)")
_FORMATS: Final[Mapping[object, str]] = {
    "date": "2026-11-21",
    "time": "12:00:00Z",
    "date-time": "2026-11-21T12:00:00Z",
    "duration": "PT1H",
    "email": "rehearsal@example.org",
    "hostname": "example.org",
    "ipv4": "192.0.2.1",
    "uri": "https://example.org/",
    "uuid": "00000000-0000-4000-8000-000000000001",
}
_DEPTH: Final = 6
_VALUES: Final = 1_000  # of one specimen; a schema that refers to itself has no end of its own
_BEYOND: Final = 1e15
_LONGEST: Final = 1_000
_MOST_ITEMS: Final = 16


def specimen(schema: dict[str, Any], prompt: str) -> str:
    """The JSON text of a value that fits `schema`; of an object, where it does not say of what."""
    return json.dumps(_Specimen(schema, prompt).value("", {"type": "object", **schema}, 0), ensure_ascii=False)


def specimen_object(schema: dict[str, Any], prompt: str) -> str:
    """The JSON text of an object with the members of `schema`, whatever else it says."""
    return json.dumps(_Specimen(schema, prompt).members(schema, 0), ensure_ascii=False)


def _whole(schema: Mapping[str, Any], name: str) -> int:
    """A bound of a length, 0 where there is none."""
    bound = schema.get(name)
    return bound if type(bound) is int and bound > 0 else 0


def _bound(schema: Mapping[str, Any], name: str, otherwise: float) -> float:
    bound = schema.get(name)
    return bound if isinstance(bound, int | float) and abs(bound) < _BEYOND else otherwise


def _number(schema: Mapping[str, Any], prompt: str) -> float:
    found = _NUMBER.search(prompt)
    value = max(float(found.group()) if found else 1.0, _bound(schema, "minimum", -inf))
    above, below = _bound(schema, "exclusiveMinimum", -inf), _bound(schema, "exclusiveMaximum", inf)
    value = min(value if value > above else above + 1, _bound(schema, "maximum", inf))
    return value if value < below else below - 1


def _words(name: str, prompt: str) -> str:
    """What the prompt has that fits the name, else the prompt."""
    if re.search(r"path|file|dir", name, re.IGNORECASE):
        found = _FILE.search(prompt)
        return found.group() if found else "."
    if re.search(r"city|location|place|country|region|town", name, re.IGNORECASE):
        place = _PLACE.search(prompt)
        return place.group(1) if place else "Oslo"
    if re.search(r"idempotency|_rev$|uuid|(?:^|_)id$", name, re.IGNORECASE):
        return "rehearsal-1"
    return prompt.strip()[:200]


def _text(name: str, schema: Mapping[str, Any], prompt: str) -> str:
    form = schema.get("format")
    text = _FORMATS[form] if isinstance(form, str) and form in _FORMATS else _words(name, prompt)
    if type(schema.get("maxLength")) is int:
        text = text[: max(schema["maxLength"], 0)]
    return text.ljust(min(_whole(schema, "minLength"), _LONGEST), ".")


class _Specimen:
    """One value in the making.

    :param root: where references lead from.
    """

    def __init__(self, root: dict[str, Any], prompt: str) -> None:
        self._root = root
        self._prompt = prompt
        self._left = _VALUES

    def value(self, name: str, schema: object, depth: int) -> object:
        """A value for one schema, of the member `name`."""
        self._left -= 1
        if not isinstance(schema, dict) or depth > _DEPTH or self._left < 0:
            return None
        schema = self._meant(schema, depth)
        choices = schema.get("enum")
        if isinstance(choices, list) and choices:
            return next((choice for choice in choices if str(choice).lower() in self._prompt.lower()), choices[0])
        if "const" in schema or "default" in schema:
            return schema.get("const", schema.get("default"))
        kind = schema.get("type", "object" if "properties" in schema else None)
        kind = kind[0] if isinstance(kind, list) and kind else kind
        if kind == "object":
            return self.members(schema, depth + 1)
        if kind == "array":
            return self._items(name, schema, depth + 1)
        if kind == "boolean":
            return True
        if kind in ("integer", "number"):
            number = _number(schema, self._prompt)
            return int(number) if kind == "integer" else number
        return None if kind == "null" else _text(name, schema, self._prompt)

    def _meant(self, schema: dict[str, Any], depth: int) -> dict[str, Any]:
        """A schema with its references followed, one of its alternatives taken, and its parts put together."""
        for _ in range(_DEPTH):
            parts: list[object] = [self._referred(schema["$ref"])] if isinstance(schema.get("$ref"), str) else []
            for key in ("allOf", "anyOf", "oneOf"):
                among = schema.get(key)
                if isinstance(among, list) and among:
                    parts += among if key == "allOf" else [_alternative(among, depth)]
            if not parts:
                break
            schema = {key: value for key, value in schema.items() if key not in ("$ref", "allOf", "anyOf", "oneOf")}
            for part in parts:
                schema = _joined(part, schema) if isinstance(part, dict) else schema
        return schema

    def _referred(self, reference: str) -> object:
        """What `#/$defs/Name` and its like stand for; None for other references."""
        found: object = self._root
        for step in reference.split("/")[1:] if reference.startswith("#") else ["?"]:
            found = found.get(step.replace("~1", "/").replace("~0", "~")) if isinstance(found, dict) else None
        return found

    def members(self, schema: dict[str, Any], depth: int) -> dict[str, object]:
        """The required properties of an object schema; all of them if none is required."""
        schema = self._meant(schema, depth)
        properties, required = schema.get("properties"), schema.get("required")
        if not isinstance(properties, dict):
            return {}
        wanted = [name for name in properties if not isinstance(required, list) or not required or name in required]
        return {name: self.value(name, properties[name], depth) for name in wanted}

    def _items(self, name: str, schema: dict[str, Any], depth: int) -> list[object]:
        """One item, or as many as there must be; none so deep down that it could not be whole."""
        least = min(_whole(schema, "minItems"), _MOST_ITEMS)
        if "items" not in schema or depth > _DEPTH // 2:
            return [self.value(name, schema.get("items", {}), depth) for _ in range(least)]
        return [self.value(name, schema["items"], depth) for _ in range(max(least, 1))]


def _alternative(among: list[object], depth: int) -> object:
    """The first, or, deep down, the one that is nothing: of a tree, so, there is an end."""
    nothing = {"type": "null"}
    return nothing if depth > _DEPTH // 2 and nothing in among else among[0]


def _joined(part: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    """Two schemas that are both to be obeyed."""
    joined = {**part, **schema}
    if isinstance(part.get("properties"), dict) and isinstance(schema.get("properties"), dict):
        joined["properties"] = {**part["properties"], **schema["properties"]}
    if isinstance(part.get("required"), list) and isinstance(schema.get("required"), list):
        joined["required"] = [*part["required"], *schema["required"]]
    return joined
