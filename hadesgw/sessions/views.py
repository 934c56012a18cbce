"""What clients are shown of a workspace: plain values that can be sent as JSON."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Entry:
    """Something in a folder.

    :ivar path: relative to the workspace.
    :ivar kind: `file`, `folder`, `link` (never followed) or `other`.
    :ivar size: bytes of a file, else None.
    :ivar modified: Unix seconds.
    """

    name: str
    path: str
    kind: str
    size: int | None
    modified: float


@dataclass(frozen=True, slots=True)
class Listing:
    """A folder's content: folders first, then by name.

    :ivar truncated: whether there is more.
    """

    path: str
    entries: list[Entry]
    truncated: bool


@dataclass(frozen=True, slots=True)
class FileContent:
    """A file's content.

    :ivar size: bytes of the whole file.
    :ivar text: its beginning as text, or None for a file that is none.
    :ivar truncated: whether there is more.
    """

    path: str
    size: int
    text: str | None
    truncated: bool


@dataclass(frozen=True, slots=True)
class Change:
    """A path that differs from the last commit.

    :ivar status: `added`, `modified`, `deleted`, `renamed`, `untracked`, `conflicted` or `other`.
    """

    path: str
    status: str


@dataclass(frozen=True, slots=True)
class GitStatus:
    """A repository's state.

    :ivar branch: None when HEAD is on no branch.
    :ivar commit: the last one's id, None when there is none yet.
    """

    branch: str | None
    commit: str | None
    changes: list[Change]
    truncated: bool


@dataclass(frozen=True, slots=True)
class Patch:
    """A unified diff.

    :ivar truncated: whether there is more.
    """

    diff: str
    truncated: bool


@dataclass(frozen=True, slots=True)
class Commit:
    """One commit.

    :ivar when: Unix seconds.
    """

    commit: str
    author: str
    when: int
    subject: str


@dataclass(frozen=True, slots=True)
class Reverted:
    """What a revert did to the work tree; nothing is committed by it.

    :ivar restored: files that are as they were before the turn.
    :ivar removed: files that the turn had made.
    """

    turn_id: str
    restored: list[str]
    removed: list[str]
