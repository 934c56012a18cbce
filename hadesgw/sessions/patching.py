"""Patches in the form that models are taught for `apply_patch`: read, and applied to the text of a file.

    *** Begin Patch
    *** Add File: new.py            every line of it follows, each with a plus
    *** Update File: old.py         hunks follow: @@, and lines that stay, go and come
    *** Delete File: gone.py
    *** End Patch

Places are found by what stands there, not by line numbers: models cannot count.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

_BEGIN, _END = "*** Begin Patch", "*** End Patch"
_VERBS = {"*** Add File: ": "add", "*** Update File: ": "update", "*** Delete File: ": "delete"}


class PatchRefused(Exception):
    """A patch that cannot be read or applied; the text is one line for the model."""


@dataclass(slots=True)
class Hunk:
    """Lines as they are, and as they are to be."""

    before: list[str] = field(default_factory=list)
    after: list[str] = field(default_factory=list)


@dataclass(slots=True)
class FilePatch:
    """What is to be done to one file.

    :ivar verb: `add`, `update` or `delete`.
    :ivar path: as the model wrote it.
    :ivar hunks: of an update; an addition has one, with nothing before.
    """

    verb: str
    path: str
    hunks: list[Hunk] = field(default_factory=list)

    def apply(self, text: str | None) -> str | None:
        """The file's text afterwards.

        :param text: as it is; None if there is no such file.
        :returns: None for a file that is deleted.
        :raises PatchRefused: if the file is not as the patch takes it to be.
        """
        if self.verb == "add":
            return "".join(f"{line}\n" for hunk in self.hunks for line in hunk.after)
        if text is None:
            raise PatchRefused(f"{self.path}: there is no such file")
        return None if self.verb == "delete" else _updated(self.path, text, self.hunks)


def parse_patch(text: str) -> list[FilePatch]:
    """The parts of a patch.

    :raises PatchRefused: if it is none.
    """
    lines = text.strip().splitlines()
    if not lines or lines[0].strip() != _BEGIN or lines[-1].strip() != _END:
        raise PatchRefused(f"a patch begins with {_BEGIN} and ends with {_END}")
    files: list[FilePatch] = []
    for line in lines[1:-1]:
        started = _started(line)
        if started is not None:
            files.append(started)
        elif not files:
            raise PatchRefused(f"a line before the first file: {line[:80]}")
        else:
            _take(files[-1], line)
    if not files:
        raise PatchRefused("the patch is about no file")
    return files


def _started(line: str) -> FilePatch | None:
    for prefix, verb in _VERBS.items():
        if line.startswith(prefix):
            return FilePatch(verb, line.removeprefix(prefix).strip())
    return None


def _take(file: FilePatch, line: str) -> None:
    """Note a line of a file's part."""
    if line.startswith("@@"):
        file.hunks.append(Hunk())
        return
    if line.startswith("*** "):
        raise PatchRefused(f"not understood: {line[:80]}")
    if not file.hunks:
        file.hunks.append(Hunk())
    sign, rest = line[:1], line[1:]
    if sign not in ("+", "-", " ", ""):
        raise PatchRefused(f"a line begins with plus, minus or a blank: {line[:80]}")
    if sign != "+":
        file.hunks[-1].before.append(rest)
    if sign != "-":
        file.hunks[-1].after.append(rest)


def _updated(path: str, text: str, hunks: Sequence[Hunk]) -> str:
    lines = text.splitlines()
    start = 0
    for hunk in hunks:
        at = _place(lines, hunk.before, start)
        if at is None:
            wanted = next(iter(hunk.before), "")
            raise PatchRefused(f"{path}: the lines to change are not there, from: {wanted[:80]}")
        lines[at : at + len(hunk.before)] = hunk.after
        start = at + len(hunk.after)
    return "".join(f"{line}\n" for line in lines)


def _place(lines: Sequence[str], wanted: Sequence[str], start: int) -> int | None:
    """Where the wanted lines stand: to the letter if they do, else but for blanks at the ends of lines."""
    if not wanted:
        return len(lines)
    for exact in (True, False):
        for at in _range(lines, wanted, start):
            found = lines[at : at + len(wanted)]
            if all(a == b if exact else a.rstrip() == b.rstrip() for a, b in zip(found, wanted, strict=True)):
                return at
    return None


def _range(lines: Sequence[str], wanted: Sequence[str], start: int) -> Iterator[int]:
    yield from range(start, len(lines) - len(wanted) + 1)
