"""Slash commands: inputs that the session carries out itself, whatever its engine."""

from __future__ import annotations

import enum
import re
from collections.abc import Collection
from dataclasses import dataclass

HELP = """\
/focus FILE   work on this file: it becomes active, and the agent is told
/add FILE     make a file active
/drop [FILE]  make it inactive; without a name, all
/ls [FOLDER]  list the workspace's files
/diff         show what is changed and not committed
/commit TEXT  commit everything that is changed; TEXT is the message
/undo         take back what the last turn changed
/help         show this
"""


class Verb(enum.StrEnum):
    """The commands there are."""

    FOCUS = "focus"
    ADD = "add"
    DROP = "drop"
    LS = "ls"
    DIFF = "diff"
    COMMIT = "commit"
    UNDO = "undo"
    HELP = "help"


_AT_ONCE = frozenset((Verb.FOCUS, Verb.ADD, Verb.DROP))


@dataclass(frozen=True, slots=True)
class Command:
    """One command as it was typed.

    :ivar argument: what follows the word, without surrounding white space.
    """

    verb: Verb
    argument: str

    @property
    def at_once(self) -> bool:
        """Whether it is carried out beside a running turn: it says nothing that could be taken for the agent's."""
        return self.verb in _AT_ONCE


@dataclass(frozen=True, slots=True)
class UnknownCommand:
    """It looks like a command and is none."""

    word: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a command.

    :ivar output: to be shown.
    :ivar error: why it was not carried out, or None.
    :ivar active: files that are active from now on.
    :ivar inactive: files that are not any more; None for all.
    :ivar focus: the file to work on, or None.
    """

    output: str = ""
    error: str | None = None
    active: tuple[str, ...] = ()
    inactive: tuple[str, ...] | None = ()
    focus: str | None = None


_FORM = re.compile(r"\s*/([A-Za-z][A-Za-z-]{0,31})(?:\s+(.*))?\s*", re.DOTALL)


def parse(text: str, claims: Collection[str]) -> Command | UnknownCommand | None:
    """The command that an input is; None when it is for the agent.

    An input that begins with a path, such as `/etc/hosts is odd`, is for the agent.

    :param claims: commands that the engine takes itself.
    """
    match = _FORM.fullmatch(text)
    if match is None:
        return None
    word = match[1].lower()
    if word in claims:
        return None
    try:
        return Command(Verb(word), (match[2] or "").strip())
    except ValueError:
        return UnknownCommand(word)
