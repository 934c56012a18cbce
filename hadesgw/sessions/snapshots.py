"""How a workspace looked before and after each turn, so that a turn's changes can be shown and taken back.

The pictures are trees in a repository of our own beside the workspace, a *shadow*: they work in any folder, and the
workspace's own repository is neither written nor asked, but for the contents it has stored already, which spare copies.
"""

from __future__ import annotations

import os
import shutil
import stat
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred

from hadesgw.sessions.git import INDEX_BYTES, MAGIC, Finished, Git, addition, complaint, require_plain_repository
from hadesgw.sessions.refusals import Reason, SessionRefused
from hadesgw.sessions.views import Patch, Reverted

KEPT_TURNS = 100
_PATCH_BYTES = 1 << 20
_REVERT_BYTES = 64 << 20
_LARGEST_INDEX = 64 << 20
EMPTY_TREE = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"
_ATTRIBUTES = "* -filter -ident -merge\n"
"""Over whatever `.gitattributes` in the workspace say: files are taken as they are."""


@dataclass(slots=True)
class Turn:
    """What a turn found and left.

    :ivar undone: whether it has been taken back.
    """

    before: str
    after: str | None = None
    undone: bool = False


class Snapshots:
    """The pictures of one session's workspace.

    :param git: the program.
    :param root: of the workspace: absolute and resolved.
    :param shadow: a folder that is ours alone, and is removed by :meth:`remove`.
    :param in_thread: runs a function off the reactor.
    :param seconds: that one run of git may take.
    """

    def __init__(
        self,
        git: Git,
        root: Path,
        shadow: Path,
        in_thread: Callable[[Callable[[], Any]], Deferred[Any]],
        seconds: float,
    ) -> None:
        self._git = git
        self._root = root
        self._shadow = shadow
        self._in_thread = in_thread
        self._seconds = seconds
        self._turns: OrderedDict[str, Turn] = OrderedDict()
        self._before: str | None = None
        self._first: str | None = None

    # -- Taking pictures -----------------------------------------------------------------------------------------------

    async def before_turn(self) -> None:
        """Take the picture that the next turn is compared with.

        :raises SessionRefused: if it cannot be taken; then the turn cannot be taken back.
        """
        self._before = None
        self._before = await self.picture()
        self._first = self._first or self._before

    async def after_turn(self, turn_id: str) -> None:
        """Take the picture that the turn has left.

        :raises SessionRefused: if it cannot be taken.
        """
        before, self._before = self._before, None
        if before is None:
            return
        self._turns[turn_id] = Turn(before, await self.picture())
        if len(self._turns) > KEPT_TURNS:
            self._turns.popitem(last=False)

    async def picture(self) -> str:
        """The id of a tree that has the workspace's files as they are, those that git is to ignore left out.

        :raises SessionRefused: if it cannot be taken, or takes too long.
        """
        await self._in_thread(self._prepare)
        done = await self._add()
        if done.status > 0:  # what was borrowed may be of no use here, such as an index of another format
            await self._in_thread(self._give_back)
            done = await self._add()
        if done.status != 0:
            if not self._turns:  # nothing is lost with it, and it may be large
                await self._in_thread(self.remove)
            raise SessionRefused(Reason.GIT, complaint("add", done))
        return (await self._checked("write-tree")).output.decode("ascii").strip()

    async def _add(self) -> Finished:
        index = await self._run("ls-files", "--stage", "-z", limit=INDEX_BYTES)
        if index.status != 0 and not index.truncated:
            return index
        return await self._run(*addition(index), limit=_PATCH_BYTES, environment=MAGIC)

    # -- Looking at them -----------------------------------------------------------------------------------------------

    async def difference(self, since: str | None) -> Patch:
        """What is different from the tree of that id, or from the session's beginning where that is None."""
        now = await self.picture()
        base = since or self._first or now
        return await self._patch(base, now)

    async def turn_patch(self, turn_id: str) -> Patch:
        """What a turn has changed.

        :raises SessionRefused: if there is no picture of it.
        """
        turn = self._turn(turn_id)
        return await self._patch(turn.before, turn.after or turn.before)

    async def _patch(self, base: str, now: str) -> Patch:
        done = await self._run("diff-tree", *_DIFF, base, now, "--", limit=_PATCH_BYTES)
        if done.status != 0 and not done.truncated:
            raise SessionRefused(Reason.GIT, complaint("diff", done))
        return Patch(done.output.decode("utf-8", "replace"), done.truncated)

    def last(self) -> str | None:
        """The last turn that is not taken back."""
        return next((turn_id for turn_id, turn in reversed(self._turns.items()) if not turn.undone), None)

    # -- Going back ----------------------------------------------------------------------------------------------------

    async def revert(self, turn_id: str) -> Reverted:
        """Take back what a turn has changed in the work tree, wholly or not at all.

        :raises SessionRefused: if there is no picture of it, it is taken back already, or what it changed has been
            changed again since.
        """
        turn = self._turn(turn_id)
        if turn.undone:
            raise SessionRefused(Reason.CONFLICT, "that turn has been taken back already")
        after = turn.after or turn.before
        back = await self._checked("diff-tree", *_DIFF, "--binary", after, turn.before, "--", limit=_REVERT_BYTES)
        if back.truncated:
            raise SessionRefused(Reason.TOO_LARGE, "the turn has changed more than can be taken back at once")
        names = await self._checked("diff-tree", "-r", "-z", "--no-renames", "--name-status", after, turn.before, "--")
        if back.output:
            await self._apply(back.output)
        turn.undone = True
        return _reverted(turn_id, names.output)

    async def _apply(self, patch: bytes) -> None:
        for mode in (("--check",), ()):  # all of it, or nothing
            done = await self._run("apply", *mode, "--whitespace=nowarn", "-", limit=_PATCH_BYTES, stdin=patch)
            if done.status != 0:
                raise SessionRefused(
                    Reason.CONFLICT, "what the turn changed has been changed since: " + complaint("apply", done)
                )

    def _turn(self, turn_id: str) -> Turn:
        try:
            return self._turns[turn_id]
        except KeyError:
            raise SessionRefused(Reason.UNKNOWN_TURN, "there is no picture of that turn") from None

    # -- The shadow ----------------------------------------------------------------------------------------------------

    def _prepare(self) -> None:
        """Make the shadow, once; and borrow of a repository beside it as soon as there is one."""
        try:
            self._make()
            (self._shadow / "index.lock").unlink(missing_ok=True)  # of a run that was ended
            if not self._alternates.exists():
                self._borrow()
        except OSError as error:
            raise SessionRefused(Reason.GIT, f"there is no place for pictures ({error.strerror})") from None

    def _make(self) -> None:
        if (self._shadow / "HEAD").exists():
            return
        for name in ("objects/info", "refs", "info"):
            (self._shadow / name).mkdir(mode=0o700, parents=True, exist_ok=True)
        (self._shadow / "info" / "attributes").write_text(_ATTRIBUTES)
        (self._shadow / "config").write_text("[core]\n\trepositoryformatversion = 0\n")
        (self._shadow / "HEAD").write_text("ref: refs/heads/none\n")

    @property
    def _alternates(self) -> Path:
        return self._shadow / "objects" / "info" / "alternates"

    def _borrow(self) -> None:
        """Know what the workspace's own repository knows: which contents it has, which files to ignore."""
        try:
            require_plain_repository(self._root)
        except SessionRefused:
            return
        own = self._root / ".git"
        self._alternates.write_text(f"{own / 'objects'}\n")
        if not (self._shadow / "index").exists():
            _copy_plain(own / "index", self._shadow / "index")
        _copy_plain(own / "info" / "exclude", self._shadow / "info" / "exclude")

    def _give_back(self) -> None:
        """Do without anything borrowed."""
        self._alternates.write_text("")
        (self._shadow / "index").unlink(missing_ok=True)

    async def _checked(self, *arguments: str, limit: int = _PATCH_BYTES) -> Finished:
        done = await self._run(*arguments, limit=limit)
        if done.status != 0:
            raise SessionRefused(Reason.GIT, complaint(arguments[0], done))
        return done

    async def _run(
        self, *arguments: str, limit: int, stdin: bytes = b"", environment: Mapping[str, str] = {}
    ) -> Finished:
        return await self._git.run(
            arguments,
            folder=self._root,
            environment={"GIT_DIR": str(self._shadow), "GIT_WORK_TREE": str(self._root), **environment},
            config={"safe.directory": "*", "core.compression": "1"},
            limit=limit,
            seconds=self._seconds,
            stdin=stdin,
        )

    def remove(self) -> None:
        """Forget all of it. Call it off the reactor."""
        shutil.rmtree(self._shadow, ignore_errors=True)


_DIFF = ("-r", "-p", "--no-ext-diff", "--no-textconv", "--full-index", "--no-color", "--no-renames")


def _copy_plain(source: Path, target: Path) -> None:
    """Copy a file that is one, and no larger than it may be; leave out any other."""
    try:
        descriptor = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if stat.S_ISREG(status.st_mode) and status.st_size <= _LARGEST_INDEX:
            with open(target, "wb") as copy:
                shutil.copyfileobj(file, copy)


def _reverted(turn_id: str, names: bytes) -> Reverted:
    """Of `status NUL path NUL ...`, as seen from the tree after to the tree before."""
    fields = names.decode("utf-8", "replace").split("\0")
    pairs = list(zip(fields[::2], fields[1::2], strict=False))
    return Reverted(
        turn_id,
        restored=[path for status, path in pairs if status != "D"],
        removed=[path for status, path in pairs if status == "D"],
    )
