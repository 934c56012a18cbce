"""Reading a file that decides who comes in: not one that others may read, or write, and never one without an end."""

from __future__ import annotations

import os
import shlex
import stat
from pathlib import Path

SECRET = 0o077
"""Nobody but the owner may do anything with the file: it holds a secret."""
UNFORGEABLE = 0o022
"""Nobody but the owner may write the file: who could, could let anybody in."""


class Unfit(Exception):
    """A file that must not be used; the text says what was expected, and repeats nothing of what is in it."""


def read_guarded(path: str, forbidden: int, most: int, credentials_directory: str | None) -> bytes:
    """What is in the file at `path`.

    What systemd puts into a service's credentials directory is exempt from the modes: access there is the
    directory's, and a file's group bits are the mask of an access list.

    :param forbidden: mode bits that the file must not have, such as :data:`SECRET`; 0 for any mode.
    :param most: bytes; a larger file is refused.
    :param credentials_directory: the value of `$CREDENTIALS_DIRECTORY`, or None.
    :raises Unfit: if it cannot be read, is too large or no regular file, or has one of those bits.
    """
    try:
        with open(path, "rb", opener=_without_waiting) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise Unfit("a regular file")
            if status.st_mode & forbidden and not _is_under(path, credentials_directory):
                raise Unfit(_cure(path, forbidden))
            content = file.read(most + 1)
    except OSError as error:
        raise Unfit(f"a readable file: {error.strerror}") from None
    if len(content) > most:
        raise Unfit(f"a file of at most {most >> 20} MiB")
    return content


def _cure(path: str, forbidden: int) -> str:
    if forbidden & 0o044:
        return f"a file for its owner alone; run: chmod 600 {shlex.quote(path)}"
    return f"a file that only its owner may write; run: chmod go-w {shlex.quote(path)}"


def _without_waiting(path: str, flags: int) -> int:
    """Opens for `open`; a FIFO nobody writes to would hold us up for ever."""
    return os.open(path, flags | os.O_NONBLOCK)


def _is_under(path: str, directory: str | None) -> bool:
    return bool(directory) and Path(path).resolve().is_relative_to(Path(directory or "").resolve())
