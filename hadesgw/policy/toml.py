"""TOML text read along the types of frozen Structs, with one line for whatever is wrong in it.

A field's annotation is its whole rule: the type and bounds that msgspec checks, the words a human is told
(`Meta.description`), and how the TOML form becomes the value (`Reader`). So the reader, its messages and the
list of `keys` cannot drift apart. msgspec's own messages are not used: they name no dict key and say nothing
about meaning.
"""

from __future__ import annotations

import difflib
import json
import re
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, NamedTuple, TypeVar, get_args, get_origin

import msgspec
from msgspec import NODEFAULT, Meta, Struct
from msgspec.structs import FieldInfo, fields


class ConfigError(Exception):
    """One thing wrong with a configuration, told in one line that is safe to print.

    :param file: the file as the operator named it.
    :param key_path: dotted TOML path such as ``timeouts.idle`` or ``tree."/v1"``, ``line 3`` where the text
        is no TOML, empty when the whole file is meant.
    :param expected: what would have been right, with what was found if that may be `shown`.
    """

    def __init__(self, file: str, key_path: str, expected: str) -> None:
        super().__init__(file, key_path, expected)
        self.file = file
        self.key_path = key_path
        self.expected = expected

    def __str__(self) -> str:
        parts = (self.file, self.key_path, f"expected {self.expected}")
        line = ": ".join(part for part in parts if part)
        return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in line)


class Unexpected(ValueError):
    """Raised by a `Reader` that knows better than the field's description what was expected, and says it."""


class Reader(NamedTuple):
    """Annotation of a field whose TOML form, a text, is not yet its value.

    `read` is given the text and the folder of the file and answers what msgspec shall check, or raises
    ValueError for "not as described". `write` turns a default back into what TOML would hold.
    """

    read: Callable[[str, Path], object]
    write: Callable[[Any], object] = lambda value: value


class Inline(NamedTuple):
    """Annotation of a dict field whose entries stand in its section's own table, as keys with `prefix`.

    Each entry of its default is a default of its own, so that writing one does not drop another.
    """

    prefix: str


S = TypeVar("S", bound=Struct)


def read(text: str, kind: type[S], source: str, folder: Path) -> S:
    """Read TOML `text` as a `kind`; `source` names it in errors, relative paths are taken from `folder`.

    :raises ConfigError: for the first thing that is wrong.
    """
    try:
        table = tomllib.loads(text)
    except RecursionError:
        raise ConfigError(source, "", "valid TOML, nested less deeply") from None
    except ValueError as error:  # TOMLDecodeError, and int's own refusal of thousands of digits
        raise _syntax_error(source, text, str(error)) from None
    return _Reading(source, folder).section(kind, table, "")


def key_path(path: str, key: str | int) -> str:
    """`path` and one step further down, as TOML would write it: ``tree."/v1"``, ``upstream[0]``."""
    if isinstance(key, int):
        return f"{path}[{key}]"
    step = key if re.fullmatch("[A-Za-z0-9_-]+", key) else json.dumps(key, ensure_ascii=False)
    return f"{path}.{step}" if path else step


def shown(value: object) -> str:
    """`value` as an error may show it: no text that looks like a secret, and never more than a few words."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return "a number beyond 64 bits" if abs(value) >= 1 << 64 else repr(value)
    if isinstance(value, str):
        return f"a text of {len(value)} characters" if _unspeakable(value) else repr(value)
    if isinstance(value, list | dict):
        return ("a" if value else "an empty") + (" table" if isinstance(value, dict) else " list")
    return "a date or time"


# A long run in which a digit or a capital stands, what announces a key, and who:password@host.
_SECRET = re.compile(r"(?=[a-z_+-]*[0-9A-Z])[A-Za-z0-9_+-]{16,}|\bsk-|@|(?i:bearer|private)")


def _unspeakable(text: str) -> bool:
    return len(text) > 60 or _SECRET.search(text) is not None


def _syntax_error(source: str, text: str, reason: str) -> ConfigError:
    """`reason` is tomllib's; its "(at line 3, column 5)" or "(at end of document)" becomes the key path."""
    what, _, place = reason.partition(" (at ")
    line = re.match(r"line ([0-9]+)", place)
    number = int(line[1]) if line else text.rstrip().count("\n") + 1
    if not place:  # int's refusal knows no line
        return ConfigError(source, "", "valid TOML, with numbers of fewer digits")
    return ConfigError(
        source, f"line {number}", "valid TOML" if _unspeakable(what) else f"valid TOML: {what}"
    )


class _Kind(NamedTuple):
    """A field's type taken apart: what msgspec checks, and what we ask of it."""

    checked: Any
    bare: Any
    expected: str
    reader: Reader
    least: int
    inline: str

    @property
    def is_section(self) -> bool:
        return isinstance(self.bare, type) and issubclass(self.bare, Struct)


def _kind(annotation: Any) -> _Kind:
    options = get_args(annotation)
    if type(None) in options:  # TOML has no null: None can be a default, never a value
        annotation = next(option for option in options if option is not type(None))
    bare, *notes = get_args(annotation) if get_origin(annotation) is Annotated else (annotation,)
    meta = next((note for note in notes if isinstance(note, Meta)), Meta())
    reader = next((note for note in notes if isinstance(note, Reader)), Reader(lambda text, folder: text))
    inline = next((note for note in notes if isinstance(note, Inline)), Inline(""))
    return _Kind(annotation, bare, meta.description or "a table", reader, meta.min_length or 0, inline.prefix)


def _default(field: FieldInfo) -> Any:
    return field.default if field.default_factory is NODEFAULT else field.default_factory()


class _Reading:
    """One walk through a TOML document along the types of its Structs, with a name for every step."""

    def __init__(self, source: str, folder: Path) -> None:
        self._source = source
        self._folder = folder

    def section(self, section: type[S], raw: object, path: str) -> S:
        """A table with known keys; those left out have their defaults."""
        if not isinstance(raw, dict):
            raise self._refusal(path, "a table", raw)
        kinds = [(field, _kind(field.type)) for field in fields(section)]
        prefixes = tuple(kind.inline for _, kind in kinds if kind.inline)
        known = [field.name for field, kind in kinds if not kind.inline]
        for key in raw:
            if key not in known and not (prefixes and key.startswith(prefixes)):
                raise self._unknown(key, known, path)
        return section(**{field.name: self._field(field, kind, raw, path) for field, kind in kinds})

    def _field(self, field: FieldInfo, kind: _Kind, table: dict[str, object], path: str) -> Any:
        if kind.inline:
            inline = {key: value for key, value in table.items() if key.startswith(kind.inline)}
            return _default(field) | self._entries(kind, inline, path)
        path = key_path(path, field.name)
        if field.name in table:
            return self._value(kind, table[field.name], path)
        if field.required:
            raise ConfigError(self._source, path, f"{kind.expected}; this key cannot be left out")
        if kind.is_section:
            return self.section(kind.bare, {}, path)
        return self._told(kind, _default(field))

    def _value(self, kind: _Kind, raw: object, path: str) -> Any:
        if kind.is_section:
            return self.section(kind.bare, raw, path)
        if get_origin(kind.bare) is dict:
            return self._entries(kind, raw, path)
        if get_origin(kind.bare) is tuple:
            return self._items(kind, raw, path)
        return self._leaf(kind, raw, path)

    def _entries(self, kind: _Kind, raw: object, path: str) -> dict[str, Any]:
        if not isinstance(raw, dict) or len(raw) < kind.least:
            raise self._refusal(path, kind.expected, raw)
        key_kind, value_kind = map(_kind, get_args(kind.bare))
        for key in raw:
            self._leaf(key_kind, key, self._step(path, key))
        return {key: self._value(value_kind, value, key_path(path, key)) for key, value in raw.items()}

    def _items(self, kind: _Kind, raw: object, path: str) -> tuple[Any, ...]:
        if not isinstance(raw, list) or len(raw) < kind.least:
            raise self._refusal(path, kind.expected, raw)
        item_kind = _kind(get_args(kind.bare)[0])
        items: list[Any] = []
        for index, value in enumerate(raw):
            item = self._value(item_kind, value, key_path(path, index))
            if item in items:
                raise ConfigError(
                    self._source, key_path(path, index), "an entry that is not in the list already"
                )
            items.append(item)
        return tuple(items)

    def _leaf(self, kind: _Kind, raw: object, path: str) -> Any:
        try:
            return msgspec.convert(self._told(kind, raw), kind.checked)
        except Unexpected as error:
            raise self._refusal(path, str(error), raw) from None
        except ValueError:  # msgspec.ValidationError is one
            raise self._refusal(path, kind.expected, raw) from None

    def _told(self, kind: _Kind, raw: object) -> object:
        return kind.reader.read(raw, self._folder) if isinstance(raw, str) else raw

    def _refusal(self, path: str, expected: str, raw: object) -> ConfigError:
        return ConfigError(self._source, path, f"{expected}, got {shown(raw)}")

    def _unknown(self, key: str, known: list[str], path: str) -> ConfigError:
        near = difflib.get_close_matches(key, known, n=1)
        hint = f"did you mean {near[0]}?" if near else "known here: " + ", ".join(known)
        return ConfigError(self._source, self._step(path, key), f"no unknown key; {hint}")

    def _step(self, path: str, key: str) -> str:
        """The path of a key that nobody has checked."""
        return key_path(path, f"({len(key)} characters)" if _unspeakable(key) else key)


class Key(NamedTuple):
    """A key: its dotted path (``[]`` for any entry of a list), its default as TOML has it, what it takes."""

    path: str
    default: str
    expected: str


def keys(section: type[Struct], path: str = "") -> Iterator[Key]:
    """Every key of a Struct and the Structs in it. Defaults TOML cannot write are "none" and "required".

    A dict has a key for each entry of its default, or one for itself when that is empty.
    """
    for field in fields(section):
        kind = _kind(field.type)
        here = path if kind.inline else key_path(path, field.name)
        item = _kind(get_args(kind.bare)[0]) if get_origin(kind.bare) is tuple else kind
        if item.is_section:
            yield from keys(item.bare, here if item is kind else here + "[]")
        elif get_origin(kind.bare) is dict and _default(field):
            entry = _kind(get_args(kind.bare)[1])
            for key, value in _default(field).items():
                yield Key(key_path(here, key), _written(value, entry), entry.expected)
        else:
            yield Key(here, _written(_default(field), kind), kind.expected)


def _written(value: object, kind: _Kind) -> str:
    if value is None or value is NODEFAULT:
        return "none" if value is None else "required"
    value = kind.reader.write(value)
    return json.dumps(int(value) if isinstance(value, float) and value.is_integer() else value)
