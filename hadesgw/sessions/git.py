"""Git, carried out by the gateway itself in a repository that may be somebody's trap.

A repository's own configuration and attributes can name programs: hooks, filters, drivers, monitors, pagers, helpers,
editors, transports. So git never reads what we have not looked at first: what could lead out of the workspace refuses
the whole repository, what could start a program is switched off for the call, and the environment is ours alone.
"""

from __future__ import annotations

import os
import re
import signal
import stat
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from twisted.internet.defer import Deferred, DeferredSemaphore, succeed
from twisted.internet.error import ProcessDone, ProcessExitedAlready, ProcessTerminated
from twisted.internet.interfaces import IDelayedCall, IProcessTransport, IReactorProcess, IReactorTime
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

from hadesgw.sessions.refusals import Reason, SessionRefused
from hadesgw.sessions.views import Change, Commit, GitStatus

AT_ONCE = 2
"""Git processes at one time, all sessions together."""
_NOT_STARTED = 127
_ERROR_BYTES = 4 << 10
_STATUS_BYTES = 1 << 20
_LARGEST_CONFIG = 256 << 10
_MOST_REFS = 20_000


if TYPE_CHECKING:

    class _Reactor(IReactorTime, IReactorProcess, Protocol):  # type: ignore[misc]
        """What time and processes come from."""


# -- One run of git ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Finished:
    """How a run ended.

    :ivar status: the exit status; -1 if it was killed, because of the time it took or of all it had to say.
    :ivar output: as much as was asked for.
    :ivar truncated: whether there was more.
    :ivar complaint: the first lines of its error output.
    """

    status: int
    output: bytes
    truncated: bool
    complaint: str


class Git:
    """The git program.

    :param reactor: starts processes, and tells the time.
    :param program: its absolute path.
    :param nice: what command lines begin with, so that git stands back for the gateway; may be nothing.
    """

    def __init__(self, reactor: _Reactor, program: str, nice: Sequence[str]) -> None:
        self._reactor = reactor
        self._command = (*nice, program, "--no-pager")
        self._turns = DeferredSemaphore(AT_ONCE)

    def run(
        self,
        arguments: Sequence[str],
        *,
        folder: Path,
        environment: Mapping[str, str],
        config: Mapping[str, str],
        limit: int,
        seconds: float,
        stdin: bytes = b"",
    ) -> Deferred[Finished]:
        """Run one command of git.

        :param environment: beside the bare one that every run has.
        :param config: in force for this run, over whatever the repository says. A key may have any characters.
        :param limit: bytes of output; the process is ended when it says more.
        :param seconds: that it may take.
        """
        # git itself goes where it works: for a process that is to begin elsewhere this one would be copied, all of it.
        command = [*self._command, "-C", str(folder), *arguments]
        whole = {**_ENVIRONMENT, **_config_environment({**_HARMLESS, **config}), **environment}

        def start() -> Deferred[Finished]:
            run = _Run(self._reactor, limit, stdin, seconds)
            try:
                self._reactor.spawnProcess(run, command[0], command, whole, childFDs={0: "w", 1: "r", 2: "r"})
            except OSError as error:
                return succeed(Finished(_NOT_STARTED, b"", False, f"it cannot be started: {error.strerror}"))
            return run.finished

        return self._turns.run(start)


class _Run(ProcessProtocol):
    """A git process: its output is bounded, and so is its time."""

    transport: IProcessTransport

    def __init__(self, reactor: IReactorTime, limit: int, stdin: bytes, seconds: float) -> None:
        self.finished: Deferred[Finished] = Deferred()
        self._reactor = reactor
        self._limit = limit
        self._stdin = stdin
        self._seconds = seconds
        self._output = bytearray()
        self._complaint = bytearray()
        self._killed = self._truncated = False
        self._late: IDelayedCall | None = None

    def connectionMade(self) -> None:
        self._late = self._reactor.callLater(self._seconds, self._kill)
        if self._stdin:
            self.transport.write(self._stdin)
        self.transport.closeStdin()

    def outReceived(self, data: bytes) -> None:
        room = self._limit - len(self._output)
        self._output += data[:room]
        if len(data) > room:
            self._truncated = True
            self._kill()

    def errReceived(self, data: bytes) -> None:
        self._complaint += data[: _ERROR_BYTES - len(self._complaint)]

    def _kill(self) -> None:
        if not self._killed:
            self._killed = True
            try:
                self.transport.signalProcess(signal.SIGKILL)
            except ProcessExitedAlready:  # but somebody holds its output open, or there is more of it than we want
                self.transport.loseConnection()

    def processEnded(self, reason: Failure) -> None:
        if self._late is not None and self._late.active():
            self._late.cancel()
        status = -1 if self._killed else _exit_status(reason)
        complaint = self._complaint.decode("utf-8", "replace")
        self.finished.callback(Finished(status, bytes(self._output), self._truncated, complaint))


def _exit_status(reason: Failure) -> int:
    ended = reason.value
    return (ended.exitCode or 0) if isinstance(ended, ProcessDone | ProcessTerminated) and ended.signal is None else -1


_ENVIRONMENT: Mapping[str, str] = {
    "PATH": "/nonexistent",  # git finds no program to start: not itself either, for a look into a repository within
    "GIT_EXEC_PATH": "/nonexistent",
    "GIT_LITERAL_PATHSPECS": "1",
    "HOME": "/nonexistent",
    "LC_ALL": "C.UTF-8",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_SYSTEM": "/dev/null",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_ATTR_NOSYSTEM": "1",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_ASKPASS": "/bin/false",
    "SSH_ASKPASS": "/bin/false",
    "GIT_SSH_COMMAND": "/bin/false",
    "GIT_EDITOR": "/bin/false",
    "GIT_SEQUENCE_EDITOR": "/bin/false",
    "GIT_PAGER": "cat",
    "GIT_NO_REPLACE_OBJECTS": "1",
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_PROTOCOL_FROM_USER": "0",
    "GIT_ALLOW_PROTOCOL": "none",
}

_HARMLESS: Mapping[str, str] = {
    "core.hooksPath": "/dev/null",
    "core.fsmonitor": "false",
    "core.pager": "cat",
    "core.editor": "/bin/false",
    "core.askPass": "/bin/false",
    "core.sshCommand": "/bin/false",
    "core.gitProxy": "",
    "core.alternateRefsCommand": "/bin/false",
    "core.attributesFile": "/dev/null",
    "core.excludesFile": "/dev/null",
    "core.bare": "false",
    "core.quotePath": "false",
    "core.commitGraph": "false",
    "core.splitIndex": "false",
    "core.logAllRefUpdates": "true",
    "credential.helper": "",
    "protocol.allow": "never",
    "diff.external": "",
    "diff.ignoreSubmodules": "all",
    "diff.noPrefix": "false",
    "diff.mnemonicPrefix": "false",
    "diff.orderFile": "/dev/null",
    "diff.submodule": "short",
    "status.submoduleSummary": "false",
    "submodule.recurse": "false",
    "gpg.program": "/bin/false",
    "commit.gpgSign": "false",
    "commit.template": "",
    "tag.gpgSign": "false",
    "log.showSignature": "false",
    "gc.auto": "0",
    "maintenance.auto": "false",
    "checkout.workers": "1",
    "color.ui": "false",
    "i18n.commitEncoding": "UTF-8",
    "i18n.logOutputEncoding": "UTF-8",
}
"""Where git would ask the repository which program to start, or would leave it for another."""


def _config_environment(config: Mapping[str, str]) -> dict[str, str]:
    """Configuration of one call. Not by `-c`, which takes a key with "=" in it for another key."""
    pairs = {f"GIT_CONFIG_KEY_{at}": key for at, key in enumerate(config)}
    pairs |= {f"GIT_CONFIG_VALUE_{at}": value for at, value in enumerate(config.values())}
    return {"GIT_CONFIG_COUNT": str(len(config)), **pairs}


# -- What a repository may not have ------------------------------------------------------------------------------------

_FORBIDDEN = re.compile(
    r"include(?:if)?\..*|extensions\.(?:worktreeconfig|partialclone)|remote\..*\.(?:promisor|vcs)", re.S
)
"""Keys, in lower case, that lead to other files or places."""
_PROGRAMS = re.compile(
    r"(filter)\.(.*)\.(?:clean|smudge|process|required)|(?:diff|merge)\.(.*)\.(?:command|textconv|driver)", re.S
)
"""Keys, in lower case but for what stands between the dots, that name programs."""


def _overrides(keys: Iterable[str]) -> dict[str, str]:
    """The configuration that switches off every program that these keys name.

    :raises SessionRefused: for a key that leads out of the repository.
    """
    found = {}
    for key in keys:
        section, _, rest = key.partition(".")
        plain = f"{section.lower()}.{rest}" if "." in rest else key.lower()
        if _FORBIDDEN.fullmatch(plain):
            raise SessionRefused(Reason.GIT, "the repository's own configuration leads out of it: git is not used here")
        if _PROGRAMS.fullmatch(plain):
            found[key] = "false" if key.lower().endswith(".required") else ""
    return found


def require_plain_repository(root: Path) -> None:
    """See that what is in `.git` is in `.git`: reads and writes of git then stay there. Touches files only.

    :raises SessionRefused: if there is none, or it lies or leads elsewhere.
    """
    folder = root / ".git"
    try:
        mode = folder.lstat().st_mode
    except OSError:
        raise SessionRefused(Reason.GIT, "the workspace is no git repository; make it one: git init") from None
    try:
        _require_plain(folder, mode)
    except OSError as error:  # it goes away while we look, or is closed to us
        raise _outside(f"its .git cannot be looked at ({error.strerror})") from None


def _require_plain(folder: Path, mode: int) -> None:
    if not stat.S_ISDIR(mode):
        raise _outside("its .git is a link or a pointer to another place")
    for name in ("commondir", "config.worktree", "objects/info/alternates", "objects/info/http-alternates"):
        if os.path.lexists(folder / name):
            raise _outside(f"it has .git/{name}")
    if _links(folder, deep=("refs", "logs", "info")):
        raise _outside("there is a symbolic link in its .git")
    config = (folder / "config").lstat() if (folder / "config").exists() else None
    if config is None or not stat.S_ISREG(config.st_mode) or config.st_size > _LARGEST_CONFIG:
        raise _outside("its .git/config is no ordinary file")


def _outside(why: str) -> SessionRefused:
    return SessionRefused(Reason.GIT, f"git is not used in this workspace: {why}")


def _links(folder: Path, deep: Sequence[str]) -> bool:
    """Whether there are symbolic links in a folder or in the folders in it, wholly in those named.

    :raises SessionRefused: if there is more than anybody would look at.
    """
    ahead = [(folder, 0)]
    seen = 0
    while ahead:
        current, depth = ahead.pop()
        with os.scandir(current) as found:
            for item in found:
                seen += 1
                if seen > _MOST_REFS:
                    raise _outside("it has more references than can be looked at")
                if item.is_symlink():
                    return True
                if item.is_dir(follow_symlinks=False) and (depth == 0 or _within(current, folder, deep)):
                    ahead.append((Path(item.path), depth + 1))
    return False


def _within(current: Path, folder: Path, names: Sequence[str]) -> bool:
    return current.relative_to(folder).parts[0] in names


# -- Repositories within -----------------------------------------------------------------------------------------------

INDEX_BYTES = 64 << 20
"""Of a list of all files that git knows."""
_MOST_LINKS = 500
MAGIC = {"GIT_LITERAL_PATHSPECS": "0"}
"""The environment in which :func:`addition` means what it says."""


def addition(index: Finished) -> list[str]:
    """The command that adds everything but repositories within the workspace: to see whether they are changed, git
    would run itself in them, by their own configuration.

    :param index: what `ls-files --stage -z` has said.
    :raises SessionRefused: if that is too much.
    """
    if index.truncated:
        raise SessionRefused(Reason.GIT, "there are more files than the gateway's git looks at")
    if index.status != 0:
        raise SessionRefused(Reason.GIT, complaint("ls-files", index))
    records = index.output.decode("utf-8", "surrogateescape").split("\0")
    links = [record.partition("\t")[2] for record in records if record.startswith("160000 ")]
    if len(links) > _MOST_LINKS:
        raise SessionRefused(Reason.GIT, "there are more repositories within than the gateway's git can leave out")
    return ["add", "--all", "--", ".", *(f":(exclude,top,literal){link}" for link in links)]


# -- A workspace's repository ------------------------------------------------------------------------------------------

_BRANCH = re.compile(r"(?!.*(?:\.\.|//|/\.|\.lock(?:/|\Z)|\.(?:/|\Z)))[A-Za-z0-9_][A-Za-z0-9._/-]{0,99}(?<!/)")
_KINDS = {"A": "added", "M": "modified", "D": "deleted", "R": "renamed", "C": "added", "T": "modified"}


class Repository:
    """The git repository at a workspace's root.

    :param git: the program.
    :param root: of the workspace: absolute and resolved.
    :param in_thread: runs a function off the reactor.
    :param seconds: that one run may take.
    """

    def __init__(
        self, git: Git, root: Path, in_thread: Callable[[Callable[[], None]], Deferred[None]], seconds: float
    ) -> None:
        self._git = git
        self._root = root
        self._in_thread = in_thread
        self._seconds = seconds

    # -- Reading -------------------------------------------------------------------------------------------------------

    async def status(self) -> GitStatus:
        """What is changed and not committed."""
        done = await self._checked(
            "status", "--porcelain=v2", "--branch", "-z", "--untracked-files=normal", "--ignore-submodules=all"
        )
        return parse_status(done.output, done.truncated)

    async def head_tree(self) -> str | None:
        """The id of the last commit's tree; None when there is no commit yet."""
        done = await self._run("rev-parse", "--verify", "--quiet", "--end-of-options", "HEAD^{tree}")
        found = done.output.decode("ascii", "replace").strip()
        return found if done.status == 0 and re.fullmatch(r"[0-9a-f]{40,64}", found) else None

    async def log(self, limit: int) -> list[Commit]:
        """The last commits, newest first."""
        if await self.head_tree() is None:
            return []
        done = await self._checked(
            "log", "-z", f"--max-count={limit}", "--no-show-signature", "--format=%H%x1f%an%x1f%at%x1f%s", "HEAD", "--"
        )
        records = done.output.decode("utf-8", "replace").split("\0")
        return [_commit(record) for record in records if record.count("\x1f") == 3]

    async def branches(self) -> list[str]:
        """Names of the local branches."""
        done = await self._checked("for-each-ref", "--count=1000", "--format=%(refname:short)", "refs/heads/")
        return done.output.decode("utf-8", "replace").splitlines()

    # -- Writing -------------------------------------------------------------------------------------------------------

    async def branch(self, name: str) -> GitStatus:
        """Begin a new branch at the last commit and be on it. The work tree is not touched."""
        if not _BRANCH.fullmatch(name):
            raise SessionRefused(Reason.BAD_REQUEST, "a branch's name has letters, digits, and . _ / - between them")
        reference = f"refs/heads/{name}"
        if (await self._run("show-ref", "--verify", "--quiet", "--", reference)).status == 0:
            raise SessionRefused(Reason.GIT, f"there is a branch {name} already")
        if await self.head_tree() is not None:
            await self._checked("update-ref", "--", reference, "HEAD", "")
        await self._checked("symbolic-ref", "--", "HEAD", reference)
        return await self.status()

    async def commit(self, message: str) -> Commit:
        """Commit everything that is changed."""
        text = message.strip()
        if not text or "\0" in text:
            raise SessionRefused(Reason.BAD_REQUEST, "a commit needs a message")
        index = await self._run("ls-files", "--stage", "-z", limit=INDEX_BYTES)
        await self._checked(*addition(index), environment=MAGIC)
        if (await self._run("diff-index", "--cached", "--quiet", "HEAD", "--")).status == 0:
            raise SessionRefused(Reason.GIT, "there is nothing to commit")
        await self._checked(
            "commit", "--quiet", "--no-verify", "--no-gpg-sign", "--cleanup=whitespace", "--file=-", stdin=text.encode()
        )
        (newest,) = await self.log(1)
        return newest

    # -- Running -------------------------------------------------------------------------------------------------------

    async def _checked(self, *arguments: str, stdin: bytes = b"", environment: Mapping[str, str] = {}) -> Finished:
        """A run that went well, or whose output was longer than anybody reads.

        :raises SessionRefused: for any other.
        """
        done = await self._run(*arguments, stdin=stdin, environment=environment)
        if done.status != 0 and not done.truncated:
            raise SessionRefused(Reason.GIT, complaint(arguments[0], done))
        return done

    async def _run(
        self,
        *arguments: str,
        stdin: bytes = b"",
        limit: int = _STATUS_BYTES,
        environment: Mapping[str, str] = {},
    ) -> Finished:
        await self._in_thread(lambda: require_plain_repository(self._root))
        keys = await self._git.run(
            ["config", "--file", str(self._root / ".git" / "config"), "--null", "--name-only", "--list"],
            folder=Path("/"),
            environment={"GIT_DIR": "/nonexistent"},
            config={},
            limit=_LARGEST_CONFIG,
            seconds=self._seconds,
        )
        if keys.status != 0:
            raise SessionRefused(Reason.GIT, "the repository's configuration cannot be read")
        names = [name for name in keys.output.decode("utf-8", "surrogateescape").split("\0") if name]
        return await self._git.run(
            arguments,
            folder=self._root,
            environment={**self._place(), **_author(names), **environment},
            config={"safe.directory": str(self._root), **_overrides(names)},
            limit=limit,
            seconds=self._seconds,
            stdin=stdin,
        )

    def _place(self) -> dict[str, str]:
        """Here and nowhere else: git does not go looking."""
        return {"GIT_DIR": str(self._root / ".git"), "GIT_WORK_TREE": str(self._root)}


def complaint(word: str, done: Finished) -> str:
    """One line on a run that went wrong."""
    if done.status == -1:
        return f"git {word} took too long and was ended"
    lines = [line for line in done.complaint.splitlines() if line.strip()]
    return (
        f"git {word}: {lines[0].removeprefix('fatal: ').removeprefix('error: ')[:300]}"
        if lines
        else f"git {word} failed"
    )


def _author(keys: Iterable[str]) -> dict[str, str]:
    """Whose commits they are, where the repository does not say."""
    known = {key.lower() for key in keys}
    name, email = ("hadesgw", "hadesgw@localhost")
    people = ("AUTHOR", "COMMITTER")
    return {
        **({f"GIT_{who}_NAME": name for who in people} if "user.name" not in known else {}),
        **({f"GIT_{who}_EMAIL": email for who in people} if "user.email" not in known else {}),
    }


def _commit(record: str) -> Commit:
    commit, author, when, subject = record.split("\x1f")
    return Commit(commit, author, int(when), subject)


def parse_status(output: bytes, truncated: bool) -> GitStatus:
    """Porcelain format 2 (git-status(1)), with NUL after each record; one that was cut is left out."""
    branch = commit = None
    changes = []
    records = iter(output.decode("utf-8", "replace").split("\0")[:-1])
    for record in records:
        if record.startswith("# branch.oid ") and "(initial)" not in record:
            commit = record.removeprefix("# branch.oid ")
        elif record.startswith("# branch.head ") and not record.endswith(" (detached)"):
            branch = record.removeprefix("# branch.head ")
        elif record[:2] == "1 ":
            changes.append(Change(record.split(" ", 8)[8], _kind(record[2:4])))
        elif record[:2] == "2 ":
            changes.append(Change(record.split(" ", 9)[9], _kind(record[2:4])))
            next(records, None)  # what it was called before
        elif record[:2] == "u ":
            changes.append(Change(record.split(" ", 10)[10], "conflicted"))
        elif record[:2] == "? ":
            changes.append(Change(record[2:], "untracked"))
    return GitStatus(branch, commit, changes, truncated)


def _kind(pair: str) -> str:
    """What happened to a file, of what index and work tree say."""
    letters = pair.replace(".", "")
    return _KINDS.get("D" if "D" in letters else letters[:1], "other")
