"""A directory that sessions work in, and the only way from a client's path to a file in it.

Every path is walked from the workspace's own descriptor, a name at a time, and no symbolic link is followed at any
step: what is opened lies inside whatever else happens to the tree meanwhile. `.git` is git's business alone: it can
hold credentials, and what is written there can become a program.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from hadesgw.sessions.refusals import Reason, SessionRefused
from hadesgw.sessions.views import Entry, FileContent, Listing

MOST_ENTRIES = 2_000
MOST_BYTES = 1 << 20
"""Of a file that is read: what is longer is cut there."""
_LONGEST_PATH = 4_096
_DEEPEST = 64
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


def segments(path: str) -> list[str]:
    """The names in a client's path, relative to the workspace.

    :raises SessionRefused: for a path that is absolute, leads upwards, names git's folder, or is no path at all.
    """
    if "\0" in path or len(path) > _LONGEST_PATH or any("\ud800" <= character <= "\udfff" for character in path):
        raise SessionRefused(Reason.BAD_PATH, "that is no path")
    if path.startswith("/"):
        raise SessionRefused(Reason.BAD_PATH, "a path is relative to the workspace")
    names = [name for name in path.split("/") if name not in ("", ".")]
    if ".." in names or len(names) > _DEEPEST:
        raise SessionRefused(Reason.BAD_PATH, "a path stays in the workspace")
    if any(name.casefold() == ".git" for name in names):
        raise SessionRefused(Reason.BAD_PATH, "what is in .git can be seen through the git commands only")
    return names


@contextmanager
def _refusing(path: str) -> Iterator[None]:
    """Tell what the kernel says in a line that names nothing but the client's own path."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENOTDIR):
            raise SessionRefused(
                Reason.BAD_PATH, f"{path}: a symbolic link, which is not followed, or no folder"
            ) from None
        if error.errno in (errno.ENOENT, errno.ENAMETOOLONG):
            raise SessionRefused(Reason.NO_SUCH_FILE, f"{path}: there is no such file") from None
        raise SessionRefused(Reason.NO_SUCH_FILE, f"{path}: {error.strerror}") from None


class Workspace:
    """One directory. The methods that touch files may take their time: call them off the reactor.

    :ivar name: in the configuration.
    :ivar root: absolute; resolved at the moment of use.
    """

    def __init__(self, name: str, root: Path) -> None:
        self.name = name
        self.root = root

    def obstacle(self) -> str | None:
        """Why no session can work here, as one line; None when one can."""
        try:
            found = self.root.resolve(strict=True)
        except (OSError, RuntimeError):
            return f"the folder of workspace {self.name} does not exist: create it, or correct [sessions] workspaces"
        if found == Path("/") or not found.is_dir():
            return f"workspace {self.name} is no folder to work in: correct [sessions] workspaces"
        if not os.access(found, os.R_OK | os.W_OK | os.X_OK):
            return f"the folder of workspace {self.name} cannot be read and written by the gateway's user"
        return None

    def resolved(self) -> Path:
        """The folder itself, without symbolic links: those on the way to it are the operator's, and followed."""
        return self.root.resolve(strict=True)

    # -- Reading -------------------------------------------------------------------------------------------------------

    def listing(self, path: str) -> Listing:
        """What is in a folder, but for `.git`; `""` is the workspace itself.

        :raises SessionRefused: if there is no such folder, or the path leads out.
        """
        names = segments(path)
        with _refusing(path), self._folder(names) as folder:
            entries, truncated = _entries(folder, "/".join(names))
        return Listing("/".join(names), entries, truncated)

    def read(self, path: str) -> FileContent:
        """A file's beginning.

        :raises SessionRefused: if there is no such file, it is no ordinary one, or the path leads out.
        """
        with self._open(path, os.O_RDONLY) as descriptor:
            size = os.fstat(descriptor).st_size
            content = _read(descriptor, MOST_BYTES + 1)
        return FileContent("/".join(segments(path)), size, _text(content[:MOST_BYTES]), len(content) > MOST_BYTES)

    def require_file(self, path: str) -> str:
        """The path of a file that exists, in its one spelling.

        :raises SessionRefused: as :meth:`read`.
        """
        with self._open(path, os.O_RDONLY):
            return "/".join(segments(path))

    def gone(self, paths: Iterable[str]) -> list[str]:
        """Those of the paths at which there is no ordinary file any more."""
        missing = []
        for path in paths:
            try:
                self.require_file(path)
            except SessionRefused:
                missing.append(path)
        return missing

    # -- Writing: the rehearsal engine's; a real agent is confined by its own sandbox ----------------------------------

    def write(self, path: str, content: bytes) -> None:
        """Put a file there, with the folders on the way to it.

        :raises SessionRefused: as :meth:`read`.
        """
        self._make_folders(segments(path)[:-1])
        with self._open(path, os.O_RDWR | os.O_CREAT) as descriptor:
            os.ftruncate(descriptor, 0)
            view = memoryview(content)
            while view:
                view = view[os.write(descriptor, view) :]

    def remove(self, path: str) -> None:
        """Take a file away.

        :raises SessionRefused: as :meth:`read`.
        """
        self.require_file(path)
        names = segments(path)
        with _refusing(path), self._folder(names[:-1]) as folder:
            os.unlink(names[-1], dir_fd=folder)

    def _make_folders(self, names: list[str]) -> None:
        for count in range(len(names)):
            with _refusing("/".join(names)), self._folder(names[:count]) as folder:
                try:
                    os.mkdir(names[count], dir_fd=folder)
                except FileExistsError:
                    pass

    # -- Walking -------------------------------------------------------------------------------------------------------

    @contextmanager
    def _folder(self, names: list[str]) -> Iterator[int]:
        """A descriptor of a folder inside."""
        descriptor = os.open(self.resolved(), _FOLDER)
        try:
            for name in names:
                deeper = os.open(name, _FOLDER, dir_fd=descriptor)
                os.close(descriptor)
                descriptor = deeper
            yield descriptor
        finally:
            os.close(descriptor)

    @contextmanager
    def _open(self, path: str, flags: int) -> Iterator[int]:
        """A descriptor of an ordinary file inside. Nothing else is opened: opening a device can do something."""
        names = segments(path)
        if not names:
            raise SessionRefused(Reason.BAD_PATH, "the path of a file is needed")
        with _refusing(path), self._folder(names[:-1]) as folder:
            _require_ordinary(path, folder, names[-1], may_be_absent=bool(flags & os.O_CREAT))
            descriptor = os.open(names[-1], flags | _FILE, 0o666, dir_fd=folder)
            try:
                if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                    raise SessionRefused(Reason.BAD_PATH, f"{path}: no ordinary file")
                yield descriptor
            finally:
                os.close(descriptor)


def _require_ordinary(path: str, folder: int, name: str, *, may_be_absent: bool) -> None:
    try:
        mode = os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode
    except FileNotFoundError:
        if may_be_absent:
            return
        raise
    if stat.S_ISLNK(mode):
        raise SessionRefused(Reason.BAD_PATH, f"{path}: a symbolic link, which is not followed")
    if not stat.S_ISREG(mode):
        raise SessionRefused(Reason.BAD_PATH, f"{path}: no ordinary file")


def _read(descriptor: int, size: int) -> bytes:
    """Up to `size` bytes; one call of read may give less."""
    content = b""
    while len(content) < size:
        piece = os.read(descriptor, size - len(content))
        if not piece:
            break
        content += piece
    return content


def _text(content: bytes) -> str | None:
    """A file's beginning as text; a character may be cut in two at its end."""
    if b"\0" in content:
        return None
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        return content[: error.start].decode() if error.start > len(content) - 4 else None


def _entries(folder: int, path: str) -> tuple[list[Entry], bool]:
    """What a folder holds, folders first; and whether there is more."""
    entries: list[Entry] = []
    with os.scandir(folder) as found:
        for item in found:
            if item.name.casefold() == ".git":
                continue
            if len(entries) >= MOST_ENTRIES:
                return _ordered(entries), True
            try:
                status = item.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue  # gone while we looked
            entries.append(_entry(item.name, path, status))
    return _ordered(entries), False


def _entry(name: str, folder: str, status: os.stat_result) -> Entry:
    shown = name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")  # bytes that are no text are shown as �
    kinds = {stat.S_IFREG: "file", stat.S_IFDIR: "folder", stat.S_IFLNK: "link"}
    kind = kinds.get(stat.S_IFMT(status.st_mode), "other")
    path = f"{folder}/{shown}" if folder else shown
    return Entry(shown, path, kind, status.st_size if kind == "file" else None, status.st_mtime)


def _ordered(entries: list[Entry]) -> list[Entry]:
    return sorted(entries, key=lambda entry: (entry.kind != "folder", entry.name))
