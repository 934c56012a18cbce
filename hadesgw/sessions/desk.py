"""What a session's clients see of its workspace: files, and git as the gateway itself carries it out.

All results are plain dataclasses of JSON values, whatever fails does so with :class:`SessionRefused`.
"""

from __future__ import annotations

from dataclasses import dataclass

from twisted.internet.defer import Deferred


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


class Desk:
    """The workspace of one session."""

    def listing(self, path: str) -> Deferred[Listing]:
        """What is in a folder; `""` is the workspace itself."""
        raise NotImplementedError

    def read(self, path: str) -> Deferred[FileContent]:
        """A file."""
        raise NotImplementedError

    def status(self) -> Deferred[GitStatus]:
        """What is changed and not committed."""
        raise NotImplementedError

    def diff(self) -> Deferred[Patch]:
        """Everything that is changed and not committed, files that git does not know yet among it."""
        raise NotImplementedError

    def turn_diff(self, turn_id: str) -> Deferred[Patch]:
        """What a turn of this session has changed."""
        raise NotImplementedError

    def log(self, limit: int) -> Deferred[list[Commit]]:
        """The last commits, newest first."""
        raise NotImplementedError

    def branches(self) -> Deferred[list[str]]:
        """Names of the local branches."""
        raise NotImplementedError

    def branch(self, name: str) -> Deferred[GitStatus]:
        """Begin a new branch here and switch to it."""
        raise NotImplementedError

    def commit(self, message: str) -> Deferred[Commit]:
        """Commit everything that is changed."""
        raise NotImplementedError

    def revert(self, turn_id: str) -> Deferred[Reverted]:
        """Take back what a turn has changed, if nothing has changed it since."""
        raise NotImplementedError

    def undo(self) -> Deferred[Reverted]:
        """Take back what the last turn has changed that is not taken back yet."""
        raise NotImplementedError
