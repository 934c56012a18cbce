"""Changes to a clients file that somebody also edits by hand.

The text is changed in place, so that comments and order stay. As the standard library cannot write TOML, a
change is a cut or an insertion at the plain form that `hadesgw token` writes itself. Each is read back before
it is answered, and refused unless the file then says exactly what was wanted: an unusual file is left to its
author, never damaged.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from msgspec.structs import replace

from hadesgw.policy.credentials import Client, ClientsError, Token, clients_text, parse_clients

_HEADER = re.compile(r"^[ \t]*\[\[[ \t]*client[ \t]*\]\][ \t\r]*(?:#.*)?$", re.MULTILINE)
_TOKENS = re.compile(r"^[ \t]*tokens[ \t]*=[ \t]*\[", re.MULTILINE)


# -- Changes of the text -------------------------------------------------------------------------------------
# Each takes the text of a valid file and answers the new text; each raises ClientsError, naming `source`.


def with_client(text: str, source: str, entry: str) -> str:
    """Append a client, whose name must be new.

    :param entry: its TOML, as :func:`hadesgw.policy.credentials.entry` writes it.
    """
    present = parse_clients(text, source)
    added = parse_clients(entry, "the new entry")
    for client in added.clients:
        if present.named(client.name):
            raise ClientsError(source, "", f"no client named {client.name} yet; --rotate gives it a further token")
    wanted = present.clients + added.clients
    above = text.rstrip()
    return _checked(f"{above}\n\n{entry}" if above else entry, source, wanted)


def with_token(text: str, source: str, name: str, item: str) -> str:
    """Give a client a further token.

    :param item: its TOML, as :func:`hadesgw.policy.credentials.token_entry` writes it.
    """
    clients, at = _find(text, source, name)
    start, end = _block(text, source, at, len(clients))
    if opening := _TOKENS.search(text, start, end):
        after, addition = opening.end(), f"{item}, "
    else:
        header = _HEADER.match(text, start)
        after, addition = header.end() if header else end, f"\ntokens = [{item}]"
    new = parse_clients(f'[[client]]\nname = "new"\nroles = ["user"]\ntokens = [{item}]', "the new token")
    clients[at] = replace(clients[at], tokens=new.clients[0].tokens + clients[at].tokens)
    return _checked(text[:after] + addition + text[after:], source, tuple(clients))


def without(text: str, source: str, name: str, prefix: str | None) -> str:
    """Take a client out, or only the one of its tokens whose digest begins with `prefix` (lower-case hex).

    A client goes with its last token, unless a certificate lets it in as well.
    """
    clients, at = _find(text, source, name)
    client = clients[at]
    start, end = _block(text, source, at, len(clients))
    if prefix is None:
        kept: tuple[Token, ...] = ()
    else:
        kept = tuple(token for token in client.tokens if not token.sha256.hex().startswith(prefix))
        if len(kept) != len(client.tokens) - 1:
            number = len(client.tokens) - len(kept)
            raise ClientsError(source, "", f"one token of {name} with a digest {prefix}..., there are {number}")
    if prefix is None or not (kept or client.certificate):
        del clients[at]
        return _checked(text[:start] + text[end:].lstrip("\r\n"), source, tuple(clients))
    clients[at] = replace(client, tokens=kept)
    item = re.compile(r"\{[^{}]*[\"']" + prefix + r"[0-9a-f]*[\"'][^{}]*\}[ \t]*(?:,[ \t]*)?", re.IGNORECASE)
    return _checked(text[:start] + item.sub("", text[start:end]) + text[end:], source, tuple(clients))


def _find(text: str, source: str, name: str) -> tuple[list[Client], int]:
    clients = list(parse_clients(text, source).clients)
    for at, client in enumerate(clients):
        if client.name == name:
            return clients, at
    raise ClientsError(source, "", f"a client named {name}")


def _block(text: str, source: str, at: int, count: int) -> tuple[int, int]:
    """From where to where entry `at` of `count` goes; comments between two belong to the later one."""
    starts = [header.start() for header in _HEADER.finditer(text)]
    if len(starts) != count:
        raise ClientsError(source, "client", "plain [[client]] entries; change this file by hand")
    end = starts[at + 1] if at + 1 < count else len(text)
    lines = text[starts[at] : end].splitlines(keepends=True)
    while not lines[-1].strip() or lines[-1].lstrip().startswith("#"):  # at the latest, the header ends it
        end -= len(lines.pop())
    return starts[at], end


def _checked(text: str, source: str, wanted: tuple[Client, ...]) -> str:
    try:
        if parse_clients(text, source).clients == wanted:
            return text
    except ClientsError:
        pass  # of a text that nobody has written: its position would mislead
    raise ClientsError(source, "", "plain [[client]] entries, one after the other; change this file by hand")


# -- The file ------------------------------------------------------------------------------------------------


def change(path: str, change_text: Callable[[str], str], create: bool) -> None:
    """Replace the file's text by `change_text` of it, at once or not at all.

    Readers see the old file or the new one. Others that change it by this function wait. An existing file
    keeps its owner and mode, and its place if it is reached by a link.

    :param create: whether a missing file has the text "" and is made, for its owner alone.
    :raises ClientsError: if the file cannot be read, or others may access it.
    :raises OSError: if it cannot be written.
    """
    place = Path(path).resolve()
    with _alone(place.parent):
        existing = place.stat() if place.exists() else None
        text = change_text("" if create and existing is None else clients_text(path, None))
        descriptor, name = tempfile.mkstemp(prefix=".clients-", dir=place.parent)  # 0600
        scratch = Path(name)
        try:
            with open(descriptor, "w", encoding="utf-8", newline="") as file:
                if existing is not None:
                    os.fchown(descriptor, existing.st_uid, existing.st_gid)
                    os.fchmod(descriptor, stat.S_IMODE(existing.st_mode))
                file.write(text)
                file.flush()
                os.fsync(descriptor)
            scratch.replace(place)
        except BaseException:
            scratch.unlink()
            raise


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold the folder's lock: the file itself is another one after each change, so it cannot carry it."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
