"""What an agent can see and reach of the machine: the command line of bubblewrap that encloses it.

Codex puts every command into a sandbox of its own, until somebody approves that one runs outside it; this enclosure is
around Codex itself and stays. In it the machine can be read but for what is hidden, written only in the workspace and
in the agent's own folder, and its processes are a family of their own: they all end, by the kernel's hand, when the
first of them does, and that one ends with the gateway.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

PRIVATE = ("/home", "/root", "/run", "/var/run", "/var/tmp", "/mnt", "/media")  # noqa: S108 - hidden, not written to
"""Folders that hold what is somebody's own, or sockets of services: nothing of them is seen."""
SCRATCH = Path("/tmp")  # noqa: S108 - the enclosure's own
SCRATCH_BYTES = 256 << 20
INERT = (".codex",)
"""Folders of a repository that would tell Codex what to do: they look empty."""
FIXED = (".git",)
"""Folders of a repository that no command changes, approved or not: what is in them may run elsewhere."""
SOMEBODY = "1000"
INFO_DESCRIPTOR = 3
"""Where bubblewrap says, as JSON, which process is the first of the family."""
_SHARED_DEPTH = 3
"""A path with fewer parts, such as /etc, is a folder that many things need."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Enclosure:
    """What one agent gets. All paths are absolute.

    :ivar bubblewrap: the program that makes it.
    :ivar private: folders that are covered for everybody's sake; see :func:`private_folders`.
    :ivar scratch: a folder that is covered too, by one of its own that it may fill.
    :ivar workspace: the directory worked in.
    :ivar writable: whether anything may be changed there.
    :ivar own: folders of the agent, which it may write to.
    :ivar needed: folders of its programs.
    :ivar hidden: files and folders that it shall not see, wherever they are.
    :ivar fixed: what in the workspace it shall not change, as paths from there.
    """

    bubblewrap: Path
    private: Sequence[Path]
    scratch: Path
    workspace: Path
    writable: bool
    own: Sequence[Path]
    needed: Sequence[Path]
    hidden: Sequence[Path]
    fixed: Sequence[str] = FIXED

    def command(self, program: Sequence[str]) -> list[str]:
        """The command line that runs a program in it."""
        return [
            str(self.bubblewrap),
            *("--unshare-user", "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"),
            *_identity(),
            *("--die-with-parent", "--new-session", "--cap-drop", "ALL"),
            *("--info-fd", str(INFO_DESCRIPTOR)),
            *("--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc"),
            *("--size", str(SCRATCH_BYTES), "--tmpfs", str(self.scratch)),
            *self._mounts(),
            *("--chdir", str(self.workspace), "--"),
            *program,
        ]

    def _mounts(self) -> Iterator[str]:
        """First the covers, then what is shown in spite of them, then what is covered even there."""
        shown = [*self.needed, *self.own, self.workspace]
        covers = self._topmost([*self.private, *_covers(self.hidden, shown)])
        for cover in covers:
            yield from ("--tmpfs", str(cover))
        for folder in self.needed:
            yield from ("--ro-bind", str(folder), str(folder))
        for folder in self.own:
            yield from ("--bind", str(folder), str(folder))
        yield from ("--bind" if self.writable else "--ro-bind", str(self.workspace), str(self.workspace))
        yield from self._guards()
        for path in self.hidden:
            if _visible(path, [*covers, self.scratch], shown):
                yield from _hide(path)
        for cover in covers:
            yield from ("--remount-ro", str(cover))

    def _topmost(self, folders: Sequence[Path]) -> list[Path]:
        """Those that are in none of the others, nor in the scratch folder, which hides what it covers already."""
        distinct = sorted({folder for folder in folders if folder.is_dir() and not folder.is_relative_to(self.scratch)})
        return [one for one in distinct if not any(one != other and one.is_relative_to(other) for other in distinct)]

    def _guards(self) -> Iterator[str]:
        for name in self.fixed:
            real = (self.workspace / name).resolve()
            if real.exists() and real != self.workspace and real.is_relative_to(self.workspace):
                yield from ("--ro-bind", str(real), str(real))
        for name in INERT:
            if (self.workspace / name).is_dir() and not (self.workspace / name).is_symlink():
                yield from ("--tmpfs", str(self.workspace / name), "--remount-ro", str(self.workspace / name))


def _identity() -> tuple[str, ...]:
    """Root is somebody else in there: Codex could not make its own sandbox inside ours as root."""
    return ("--uid", SOMEBODY, "--gid", SOMEBODY) if os.geteuid() == 0 else ()


def private_folders() -> list[Path]:
    """Folders of this machine that hold what is somebody's own, the home of its user among them."""
    named = [*(Path(name) for name in PRIVATE), Path("~").expanduser()]
    return [path.resolve() for path in named if path.is_dir() and len(path.resolve().parts) > 1]


def _covers(hidden: Sequence[Path], shown: Sequence[Path]) -> Iterator[Path]:
    """Folders to cover so that hidden things are gone, and stay so when somebody puts new ones in their place."""
    for path in hidden:
        real = path.resolve()
        folder = real if real.is_dir() else real.parent
        if len(folder.parts) >= _SHARED_DEPTH and not any(each.is_relative_to(folder) for each in shown):
            yield folder


def _visible(path: Path, covers: Sequence[Path], shown: Sequence[Path]) -> bool:
    """Whether a path that shall be hidden can still be seen."""
    real = path.resolve()
    if not real.exists():
        return False
    if any(each.is_relative_to(real) for each in shown):
        return False  # to cover it would cover what the agent works on
    if any(real.is_relative_to(each) for each in shown):
        return True
    return not any(real.is_relative_to(cover) for cover in covers)


def _hide(path: Path) -> tuple[str, ...]:
    real = path.resolve()
    return ("--tmpfs", str(real)) if real.is_dir() else ("--ro-bind", os.devnull, str(real))
