"""The configuration: one TOML file read into frozen values.

`load` is the border. What comes out of it has passed every check that needs nothing but the file; what does not
pass is a `ConfigError`, one line that names the file, the key and what was expected there. A field's annotation
is its whole rule (type, bounds, words for a human), so the reader, the messages and `describe` cannot drift apart.

Not judged here: layer names (the tree knows them), whether files and addresses exist (the service does), and the
clients file (the credentials do).
"""

from __future__ import annotations

import json
import os
import re
import tomllib
import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from importlib.resources import files
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, TypeVar, Union, get_args, get_origin
from urllib.parse import urlsplit

import msgspec
from msgspec import NODEFAULT, Meta, Struct

BUILT_IN = "built-in defaults"
"""What stands for the file's name when no file was given."""

_FILE_LIMIT = 1 << 20  # a configuration is a page; a device or a log given by mistake is not read to its end
_SOCKET_PATH_LIMIT = 107  # sun_path of sockaddr_un less its final NUL (unix(7))


class ConfigError(Exception):
    """One thing wrong with a configuration, told in one line that is safe to print.

    :param file: the file as the operator named it, or `BUILT_IN`.
    :param key_path: dotted TOML path such as ``timeouts.idle`` or ``tree."/v1"``, ``line 3`` where the text is no
        TOML, empty when the whole file is meant.
    :param expected: what would have been right, with what was found if that may be shown (see `shown`).
    """

    def __init__(self, file: str, key_path: str, expected: str) -> None:
        super().__init__(file, key_path, expected)
        self.file = file
        self.key_path = key_path
        self.expected = expected

    def __str__(self) -> str:
        parts = (self.file, self.key_path, f"expected {self.expected}")
        return _one_line(": ".join(part for part in parts if part))


# -- readers: what TOML holds -> what we keep ---------------------------------------------------------------------
# Each takes the raw value and the configuration's folder, and answers the value to check against type and bounds.
# A value of another type passes through for that check to refuse; ValueError means "not as expected".


class Reader(NamedTuple):
    """Annotation of a field whose TOML form is not its value: `read` is given (raw value, folder)."""

    read: Any


_SIZE = re.compile(r"([0-9]{1,15})(KiB|MiB|GiB)?")
_UNITS = {None: 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}


def _bytes_of(raw: object, folder: Path) -> object:
    if not isinstance(raw, str):
        return raw
    match = _SIZE.fullmatch(raw)
    if match is None:
        raise ValueError
    return int(match[1]) * _UNITS[match[2]]


def _path(raw: object, folder: Path) -> object:
    """Relative to the file's folder; symbolic links and ``..`` are left to the kernel."""
    if not isinstance(raw, str) or not raw:
        return raw
    if "\0" in raw:
        raise ValueError
    return str(folder / raw)


def _socket(raw: object, folder: Path) -> object:
    path = _path(raw, folder)
    if isinstance(path, str) and len(os.fsencode(path)) > _SOCKET_PATH_LIMIT:
        raise ValueError
    return path


def _host(raw: object, folder: Path) -> object:
    if isinstance(raw, str) and raw.startswith("["):
        if not raw.endswith("]") or ip_address(raw[1:-1]).version != 6:
            raise ValueError
    return raw.lower() if isinstance(raw, str) else raw


def _listener(raw: object, folder: Path) -> object:
    if isinstance(raw, str):
        parse_listener(raw)
    return raw


def _origin(raw: object, folder: Path) -> object:
    """Exactly what a browser sends (RFC 6454 section 6.2): another spelling would silently never match."""
    if not isinstance(raw, str):
        return raw
    url = urlsplit(raw)
    default = {"http": 80, "https": 443}.get(url.scheme)
    if default is None or not url.hostname or url.port == default or raw != f"{url.scheme}://{url.netloc}":
        raise ValueError
    if "@" in url.netloc or raw != raw.lower() or not _VISIBLE.fullmatch(raw):
        raise ValueError
    return raw


def _url(raw: object, folder: Path) -> object:
    if not isinstance(raw, str) or not raw:
        return raw
    url = urlsplit(raw)
    if url.scheme not in ("http", "https") or not url.hostname or "@" in url.netloc or url.query or url.fragment:
        raise ValueError
    if url.port == 0 or not _VISIBLE.fullmatch(raw):
        raise ValueError
    return raw


def _header(raw: object, folder: Path) -> object:
    if isinstance(raw, str) and raw.lower() in _TAKEN_HEADERS:
        raise ValueError
    return raw


_VISIBLE = re.compile(r"[\x21-\x7e]+")
_TAKEN_HEADERS = frozenset(
    "accept accept-encoding authorization connection content-encoding content-length content-type cookie date expect"
    " forwarded host keep-alive origin proxy-authenticate proxy-authorization retry-after server set-cookie te"
    " trailer transfer-encoding upgrade vary via www-authenticate x-api-key".split()
)

# -- kinds of value -----------------------------------------------------------------------------------------------

Seconds = Annotated[float, Meta(gt=0, le=86_400, description="a number of seconds > 0, at most 86400")]
Tokens = Annotated[int, Meta(ge=1, le=100_000_000, description="a number of tokens from 1 to 100000000")]
Count = Annotated[int, Meta(ge=1, le=1_000_000, description="a whole number from 1 to 1000000")]
CountOrNone = Annotated[int, Meta(ge=0, le=1_000_000, description="a whole number from 0 to 1000000")]
Rate = Annotated[float, Meta(gt=0, le=1_000_000, description="a number per second > 0, at most 1000000")]
BodySize = Annotated[
    int, Meta(ge=1, le=1 << 36, description='a size from 1 byte to "64GiB", such as "64KiB" or 65536'), Reader(_bytes_of)
]
HeadSize = Annotated[
    int, Meta(ge=1 << 10, le=1 << 20, description='a size from "1KiB" to "1MiB", such as "32KiB"'), Reader(_bytes_of)
]
FieldCount = Annotated[int, Meta(ge=1, le=1_000, description="a whole number from 1 to 1000")]
Switch = Annotated[bool, Meta(description="true or false")]
File = Annotated[str, Meta(description='a path, or "" for none'), Reader(_path)]
Folder = Annotated[str, Meta(min_length=1, description="a path"), Reader(_path)]
ControlSocket = Annotated[
    str, Meta(description='a path of at most 107 bytes, or "" for the usual place'), Reader(_socket)
]
UpstreamSocket = Annotated[str, Meta(min_length=1, description="a path of at most 107 bytes"), Reader(_socket)]
Listen = Annotated[
    str,
    Meta(description="a listener such as tcp:8082:interface=127.0.0.1, tls:8443, unix:/path, systemd:... or fd:..."),
    Reader(_listener),
]
Host = Annotated[
    str,
    Meta(
        pattern=r"\A(?:[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,253}[A-Za-z0-9_.])?|\[[0-9A-Fa-f:.]{2,45}\])\Z",
        description="a host name without a port",
    ),
    Reader(_host),
]
Name = Annotated[
    str,
    Meta(
        pattern=r"\A[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z",
        description="a name of 1 to 64 characters: letters, digits, dot, underscore, hyphen",
    ),
]
Model = Annotated[
    str,
    Meta(pattern=r"\A[^\s\x00-\x1f\x7f]{1,256}\Z", description='a model name of 1 to 256 characters, or "*" for any'),
]
RoutePath = Annotated[
    str,
    Meta(
        # Whole, plain segments: no empty or dot segment, no escape that could be spelled in two ways (RFC 3986 3.3).
        pattern=r"\A(?:/|(?:/(?!\.{1,2}(?:/|\Z))[A-Za-z0-9._~!$&'()*+,;=:@-]+)+)\Z",
        description='a path such as "/v1": from a slash, whole plain segments, no slash at the end',
    ),
]
Layer = Annotated[
    str, Meta(pattern=r"\A[a-z][a-z0-9-]{0,63}\Z", description='a layer name such as "guard"')
]
HeaderName = Annotated[
    str,
    Meta(
        pattern=r"\A[A-Za-z0-9!#$%&'*+.^`|~-]{1,64}\Z",  # RFC 9110 5.6.2 without "_", which fronts fold into "-"
        description="a header name of its own, up to 64 characters, without underscores",
    ),
    Reader(_header),
]
Origin = Annotated[
    str,
    Meta(max_length=300, description="an origin as browsers write it, such as http://localhost:3000"),
    Reader(_origin),
]
Url = Annotated[
    str,
    Meta(max_length=2_000, description='an http or https address without credentials, or ""'),
    Reader(_url),
]


# -- the sections -------------------------------------------------------------------------------------------------


class Section(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A TOML table; attribute names are key names."""


class Server(Section):
    """Where we listen, and by what names we are called."""

    listen: Annotated[tuple[Listen, ...], Meta(min_length=1, description="a list of listeners, at least one")] = (
        "tcp:8082:interface=127.0.0.1",
    )
    control: ControlSocket = ""
    names: Annotated[tuple[Host, ...], Meta(description="a list of host names")] = ()
    half_close: Annotated[Literal["abort", "answer"], Meta(description='"abort" or "answer"')] = "abort"


class Tls(Section):
    """PEM files of the ``tls:`` listeners."""

    certificate: File = ""
    private_key: File = ""
    client_ca: File = ""


class Upstream(Section):
    """One vLLM behind an AF_UNIX socket. Unset token limits are those of `Budget`."""

    name: Name
    socket: UpstreamSocket
    models: Annotated[tuple[Model, ...], Meta(description="a list of model names")] = ()
    max_in_flight: Count = 16
    context_tokens: Tokens | None = None
    output_tokens: Tokens | None = None


class Clients(Section):
    """Who may come."""

    file: File = "clients.toml"
    anonymous: Annotated[
        Literal["", "observer", "user"], Meta(description='"", "observer" or "user"')
    ] = ""


class Body(Section):
    """Caps on request bodies, in bytes.

    In TOML the entries of `routes` are keys of this very table, told apart by their leading slash.
    """

    default: BodySize = 64 << 10
    memory: BodySize = 256 << 20
    routes: Annotated[dict[RoutePath, BodySize], Meta(description="a table of sizes by path")] = msgspec.field(
        default_factory=lambda: {"/v1/responses": 16 << 20}
    )

    def cap(self, path: bytes) -> int:
        """The most bytes a body sent to `path` (no query) may have: the longest route of whole segments decides."""
        text = path.decode("latin-1")
        covering = [route for route in self.routes if text == route or text.startswith(route.rstrip("/") + "/")]
        return self.routes[max(covering, key=len)] if covering else self.default


class Head(Section):
    """Bounds on a request's head: bytes of request line and fields together, and number of fields."""

    bytes: HeadSize = 32 << 10
    fields: FieldCount = 100


class ResponseHead(Section):
    """Bound on the head of an upstream's answer, in bytes."""

    bytes: HeadSize = 64 << 10


class Limits(Section):
    """How much one client, and all of them, may ask."""

    requests_per_second: Rate = 5.0
    burst: Count = 10
    max_in_flight: Count = 4
    queue: CountOrNone = 64
    queue_seconds: Seconds = 30.0
    connections: Count = 10_000
    body: Body = Body()
    head: Head = Head()
    response_head: ResponseHead = ResponseHead()


class Usage(Section):
    """Whether token usage is asked of the upstream for clients that did not ask."""

    ask_upstream: Switch = False


class Budget(Section):
    """Token limits of one request, unless its upstream has its own."""

    context_tokens: Tokens = 8_192
    output_tokens: Tokens = 2_048


class Timeouts(Section):
    """All in seconds."""

    connect: Seconds = 5.0
    first_byte: Seconds = 60.0
    idle: Seconds = 60.0
    request_head: Seconds = 10.0
    request_body: Seconds = 30.0
    drain: Seconds = 300.0


class Cors(Section):
    """Whose pages may call us from a browser."""

    origins: Annotated[tuple[Origin, ...], Meta(description="a list of origins")] = ("http://localhost:3000",)


class Headers(Section):
    """Names of the two correlation headers."""

    request_id: HeaderName = "X-Request-ID"
    session_id: HeaderName = "X-Conveyance-Session-ID"


class Sessions(Section):
    """Coding sessions: the agent, where it may work, what it may do unasked."""

    engine: Annotated[Literal["codex", "aider"], Meta(description='"codex" or "aider"')] = "codex"
    workspaces: Annotated[dict[Name, Folder], Meta(description="a table of folders by name")] = {}
    default_workspace: Annotated[
        str, Meta(pattern=r"\A(?:[A-Za-z0-9][A-Za-z0-9._-]{0,63})?\Z", description='a name in workspaces, or ""')
    ] = ""
    approval: Annotated[
        Literal["untrusted", "on-request", "never"], Meta(description='"untrusted", "on-request" or "never"')
    ] = "on-request"
    sandbox: Annotated[
        Literal["read-only", "workspace-write"], Meta(description='"read-only" or "workspace-write"')
    ] = "workspace-write"


class Hermes(Section):
    """The registry we announce ourselves to."""

    url: Url = ""


class Log(Section):
    """How we write about ourselves."""

    format: Annotated[Literal["json", "text"], Meta(description='"json" or "text"')] = "json"
    level: Annotated[
        Literal["debug", "info", "warn", "error", "critical"],
        Meta(description='"debug", "info", "warn", "error" or "critical"'),
    ] = "info"


class Sections(Section):
    """The whole file."""

    server: Server = Server()
    tls: Tls = Tls()
    upstream: Annotated[tuple[Upstream, ...], Meta(min_length=1, description="at least one [[upstream]]")] = (
        Upstream(name="vllm", socket="/run/hades/vllm/api.sock", models=("qwen3-coder-30b-a3b-instruct",)),
    )
    tree: Annotated[
        dict[RoutePath, Annotated[tuple[Layer, ...], Meta(min_length=1, description="a list of layers, at least one")]],
        Meta(min_length=1, description="a table of layers by path, at least one"),
    ] = msgspec.field(
        default_factory=lambda: {
            "/v1": ("metered", "guard", "proxy"),
            "/metrics": ("guard", "metrics"),
            "/healthz": ("health",),
            "/readyz": ("readiness",),
        }
    )
    clients: Clients = Clients()
    limits: Limits = Limits()
    usage: Usage = Usage()
    budget: Budget = Budget()
    timeouts: Timeouts = Timeouts()
    cors: Cors = Cors()
    headers: Headers = Headers()
    sessions: Sessions = Sessions()
    hermes: Hermes = Hermes()
    log: Log = Log()


class Config(Sections):
    """A configuration and where it came from: `source` is the file's name for messages, `folder` its directory."""

    source: str = BUILT_IN
    folder: str = "."
