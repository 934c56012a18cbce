"""A session's workspace as its clients use it: files, and git as the gateway itself carries it out.

Every result is one of :mod:`hadesgw.sessions.views`; whatever is not done fails with :class:`SessionRefused`.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, DeferredLock

from hadesgw.sessions.git import Repository
from hadesgw.sessions.refusals import Reason, SessionRefused
from hadesgw.sessions.snapshots import EMPTY_TREE, Snapshots
from hadesgw.sessions.views import Commit, FileContent, GitStatus, Listing, Patch, Reverted
from hadesgw.sessions.workspace import Workspace

T = TypeVar("T")

MOST_COMMITS = 200


class Desk:
    """The workspace of one session. What touches files or git is done one after the other.

    :param in_thread: runs a function off the reactor.
    :param busy: whether a turn runs, which is no moment to change files under the agent's hands.
    :param changed: told of files that were changed here, and of files that were removed.
    """

    def __init__(
        self,
        workspace: Workspace,
        repository: Repository,
        snapshots: Snapshots,
        in_thread: Callable[[Callable[[], Any]], Deferred[Any]],
        busy: Callable[[], bool],
        changed: Callable[[Sequence[str], Sequence[str]], None],
    ) -> None:
        self._workspace = workspace
        self._repository = repository
        self._snapshots = snapshots
        self._in_thread = in_thread
        self._busy = busy
        self._changed = changed
        self._lock = DeferredLock()

    # -- Files ---------------------------------------------------------------------------------------------------------

    def listing(self, path: str) -> Deferred[Listing]:
        """What is in a folder; `""` is the workspace itself."""
        return self._in_thread(lambda: self._workspace.listing(path))

    def read(self, path: str) -> Deferred[FileContent]:
        """A file."""
        return self._in_thread(lambda: self._workspace.read(path))

    def require_file(self, path: str) -> Deferred[str]:
        """The path of a file that exists, in its one spelling."""
        return self._in_thread(lambda: self._workspace.require_file(path))

    def gone(self, paths: Sequence[str]) -> Deferred[list[str]]:
        """Those of the paths at which there is no file any more."""
        return self._in_thread(lambda: self._workspace.gone(paths))

    # -- Looking -------------------------------------------------------------------------------------------------------

    def status(self) -> Deferred[GitStatus]:
        """What is changed and not committed."""
        return self._alone(self._repository.status)

    def diff(self) -> Deferred[Patch]:
        """Everything that is changed and not committed, files that git does not know yet among it.

        In a folder that is no repository: everything that is changed since the session's first turn.
        """

        async def look() -> Patch:
            try:
                base = await self._repository.head_tree() or EMPTY_TREE
            except SessionRefused:
                base = None
            return await self._snapshots.difference(base)

        return self._alone(look)

    def turn_diff(self, turn_id: str) -> Deferred[Patch]:
        """What a turn of this session has changed."""
        return self._alone(lambda: self._snapshots.turn_patch(turn_id))

    def log(self, limit: int) -> Deferred[list[Commit]]:
        """The last commits, newest first; at most :data:`MOST_COMMITS`."""
        return self._alone(lambda: self._repository.log(max(1, min(limit, MOST_COMMITS))))

    def branches(self) -> Deferred[list[str]]:
        """Names of the local branches."""
        return self._alone(self._repository.branches)

    # -- Changing: between turns ---------------------------------------------------------------------------------------

    def branch(self, name: str) -> Deferred[GitStatus]:
        """Begin a new branch here and be on it."""
        return self._between_turns(lambda: self._repository.branch(name))

    def commit(self, message: str) -> Deferred[Commit]:
        """Commit everything that is changed."""
        return self._between_turns(lambda: self._repository.commit(message))

    def revert(self, turn_id: str) -> Deferred[Reverted]:
        """Take back what a turn has changed, if nothing has changed it since. Nothing is committed by it."""

        async def go_back() -> Reverted:
            done = await self._snapshots.revert(turn_id)
            self._changed(done.restored, done.removed)
            return done

        return self._between_turns(go_back)

    def undo(self) -> Deferred[Reverted]:
        """Take back what the last turn has changed that is not taken back yet."""
        last = self._snapshots.last()
        if last is None:
            return self._alone(_nothing_to_undo)
        return self.revert(last)

    # -- A turn's pictures ---------------------------------------------------------------------------------------------

    def before_turn(self) -> Deferred[None]:
        """See how things stand before a turn."""
        return self._alone(self._snapshots.before_turn)

    def after_turn(self, turn_id: str) -> Deferred[None]:
        """See what a turn has left."""
        return self._alone(lambda: self._snapshots.after_turn(turn_id))

    def close(self) -> Deferred[None]:
        """Put away what was kept for looking back, once nobody is looking."""
        return self._lock.run(lambda: self._in_thread(self._snapshots.remove))

    # -- One after the other -------------------------------------------------------------------------------------------

    def _alone(self, work: Callable[[], Coroutine[Deferred[Any], Any, T]]) -> Deferred[T]:
        return self._lock.run(lambda: Deferred.fromCoroutine(work()))

    def _between_turns(self, work: Callable[[], Coroutine[Deferred[Any], Any, T]]) -> Deferred[T]:
        async def unless_busy() -> T:
            if self._busy():
                raise SessionRefused(Reason.CONFLICT, "a turn runs; wait for its end, or interrupt it")
            return await work()

        return self._alone(unless_busy)


async def _nothing_to_undo() -> Reverted:
    raise SessionRefused(Reason.UNKNOWN_TURN, "no turn is left to take back")
