"""What one entry of ``server.listen`` says, read without opening anything.

The grammar is that of Twisted's endpoint descriptions (``kind:argument:name=value``, a backslash takes the
meaning from the next character), so that the words here and the words of the endpoint that is built later are
the same.
"""

from __future__ import annotations

import os
import re
from ipaddress import IPv4Address, ip_address

from msgspec import Struct, field


class ListenerError(ValueError):
    """A description nobody should listen on; the text says what was expected."""


class Listener(Struct, frozen=True, kw_only=True):
    """One listener, described.

    :ivar kind: ``tcp``, ``tls``, ``unix``, ``systemd`` or ``fd``.
    :ivar port: of tcp and tls, 0 for any free one; None for the others.
    :ivar interface: of tcp and tls, "" for all; "" for the others.
    :ivar path: of unix, absolute; "" for the others.
    :ivar options: what was given by name, unescaped.
    """

    kind: str
    port: int | None = None
    interface: str = ""
    path: str = ""
    options: dict[str, str] = field(default_factory=dict)

    @property
    def encrypted(self) -> bool:
        """Whether it is TLS that is spoken there."""
        return self.kind == "tls" or self.options.get("tls") == "yes"

    def collides(self, other: Listener) -> bool:
        """Whether both ask for the same address and port, or path. Port 0 is a new port each time."""
        if self.path or other.path:
            return os.path.normpath(self.path) == os.path.normpath(other.path)
        if self.port is None or other.port is None:
            return self.kind == other.kind and self._inherited() == other._inherited()
        return self.port == other.port != 0 and _canonical(self.interface) == _canonical(other.interface)

    def _inherited(self) -> set[tuple[str, str]]:
        """What tells one inherited socket from another."""
        return {(name, value) for name, value in self.options.items() if name in ("fileno", "index", "name")}


KINDS = ("tcp", "tls", "unix", "systemd", "fd")

_STREAM = frozenset({"port", "interface", "backlog"})
_OPTIONS = {
    "tcp": _STREAM,
    "tls": _STREAM,
    "unix": frozenset({"address", "mode", "backlog", "lockfile"}),
    "systemd": frozenset({"domain", "index", "name", "tls"}),
    "fd": frozenset({"fileno", "domain", "tls"}),
}
_DOMAINS = ("INET", "INET6", "UNIX")
_POSITIONAL = {"tcp": "port", "tls": "port", "unix": "address", "fd": "fileno"}
_ARGUMENT = re.compile(r"(?P<before>(?:[^\\:=]|\\.)*)(?:=(?P<value>(?:[^\\:]|\\.)*))?(?::|\Z)", re.DOTALL)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)


def parse_listener(description: str) -> Listener:
    """Read one endpoint description.

    :raises ListenerError: for another kind than `KINDS`, an argument that the kind does not know, a port that
        is none, a path that is not absolute, or text that is no description at all.
    """
    kind, arguments = _split(description)
    if kind == "ssl":
        raise ListenerError("tls: instead of ssl:, with the certificate and key named in [tls]")
    if kind not in KINDS:
        raise ListenerError("a listener that begins with " + ", ".join(f"{kind}:" for kind in KINDS))
    options = _named(kind, arguments)
    if kind in ("tcp", "tls"):
        return Listener(kind=kind, port=_port(kind, options), interface=options.get("interface", ""), options=options)
    if kind == "unix":
        return Listener(kind=kind, path=_absolute(options), options=options)
    if kind == "fd" and _number(options.get("fileno", "")) < 0:
        raise ListenerError("a number after fd:")
    if kind == "systemd" and ("index" in options) == ("name" in options):
        raise ListenerError("either index or name after systemd:")
    return Listener(kind=kind, options=options)


def _split(description: str) -> tuple[str, list[tuple[str, str | None]]]:
    """The kind, and every argument as (text, None) or (name, value)."""
    arguments: list[tuple[str, str | None]] = []
    position = 0
    while position < len(description):
        match = _ARGUMENT.match(description, position)
        if match is None:
            raise ListenerError("a character after each backslash")
        value = match["value"]
        arguments.append((_plain(match["before"]), None if value is None else _plain(value)))
        position = match.end()
    if not arguments or arguments[0][1] is not None:
        raise ListenerError("a listener such as tcp:8082:interface=127.0.0.1")
    return arguments[0][0], arguments[1:]


def _plain(escaped: str) -> str:
    return _ESCAPED.sub(r"\1", escaped)


def _named(kind: str, arguments: list[tuple[str, str | None]]) -> dict[str, str]:
    """All arguments by name, each known and given once; only the first may go without its name."""
    options: dict[str, str] = {}
    for index, (before, value) in enumerate(arguments):
        name = before if value is not None else _POSITIONAL.get(kind) if index == 0 else None
        if name not in _OPTIONS[kind]:
            raise ListenerError(f"after {kind}: only {', '.join(sorted(_OPTIONS[kind]))}")
        if name in options:
            raise ListenerError(f"{name} once")
        options[name] = before if value is None else value
    _check_options(options)
    return options


def _check_options(options: dict[str, str]) -> None:
    if "backlog" in options and not 1 <= _number(options["backlog"]) <= 65_535:
        raise ListenerError("a backlog from 1 to 65535")
    if "mode" in options and not re.fullmatch("[0-7]{3,4}", options["mode"]):
        raise ListenerError("a mode of three octal digits, such as 660")
    if "index" in options and _number(options["index"]) < 0:
        raise ListenerError("an index that is a number")
    if "domain" in options and options["domain"] not in _DOMAINS:
        raise ListenerError(f"a domain out of {', '.join(_DOMAINS)}")
    if options.get("tls", "no") not in ("yes", "no"):
        raise ListenerError("tls=yes or tls=no")
    interface = options.get("interface", "")
    if not re.fullmatch(r"[A-Za-z0-9.:%_-]{0,255}", interface):
        raise ListenerError("an interface that is an address or a host name")


def _port(kind: str, options: dict[str, str]) -> int:
    port = _number(options.get("port", ""))
    if not 0 <= port <= 65_535:
        raise ListenerError(f"a port from 0 to 65535 after {kind}:")
    return port


def _absolute(options: dict[str, str]) -> str:
    path = options.get("address", "")
    if not path.startswith("/") or "\0" in path or len(os.fsencode(path)) > 107:  # sun_path less its NUL, unix(7)
        raise ListenerError("an absolute path of at most 107 bytes after unix:")
    return path


def _number(text: str) -> int:
    return int(text) if re.fullmatch("[0-9]{1,6}", text) else -1


def _canonical(interface: str) -> str:
    """One spelling of one address; no interface means all of IPv4 to Twisted. Nothing is looked up."""
    try:
        return str(ip_address(interface) if interface else IPv4Address(0))
    except ValueError:
        return interface.lower()
