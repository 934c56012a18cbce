"""The configuration: one TOML file read into frozen values.

`load` is the border. What comes out of it has passed every check that needs nothing but the file; what does
not pass is a `ConfigError`. Not judged here: layer names (the tree knows them), whether files and addresses
exist and may be used (the service does), and what the clients file says (the credentials do).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from importlib.resources.abc import Traversable
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta, Struct

from hadesgw.policy.listening import ListenerError, parse_listener
from hadesgw.policy.toml import ConfigError, Inline, Key, Reader, Unexpected, key_path, keys, read, shown

__all__ = [
    "BUILT_IN",
    "Aider",
    "Body",
    "Budget",
    "Clients",
    "ClientsSource",
    "Codex",
    "Config",
    "ConfigError",
    "Cors",
    "Head",
    "Headers",
    "Hermes",
    "Limits",
    "Log",
    "Metrics",
    "Otel",
    "ResponseHead",
    "Server",
    "Sessions",
    "Telemetry",
    "Timeouts",
    "Tls",
    "Upstream",
    "Usage",
    "WebClient",
    "WebSocket",
    "clients_source",
    "default_text",
    "describe",
    "key_path",
    "load",
    "parse",
    "shown",
]

BUILT_IN = "built-in defaults"
"""What stands for the file's name when no file was given."""

_FILE_LIMIT = 1 << 20  # a configuration is a page: a device or a log given by mistake is not read to its end
_SOCKET_PATH_LIMIT = 107  # sun_path of sockaddr_un less its final NUL, unix(7)

# -- readers: the text in TOML and the file's folder -> the value; ValueError says "not as described"

_SIZE = re.compile(r"([0-9]{1,15})(KiB|MiB|GiB)?")
_UNITS = {"GiB": 1 << 30, "MiB": 1 << 20, "KiB": 1 << 10, None: 1}


def _size(text: str, folder: Path) -> int:
    match = _SIZE.fullmatch(text)
    if match is None:
        raise ValueError
    return int(match[1]) * _UNITS[match[2]]


def _size_text(size: int) -> str:
    unit, factor = next((unit, factor) for unit, factor in _UNITS.items() if size % factor == 0)
    return f"{size // factor}{unit or ''}"


def _path(text: str, folder: Path) -> str:
    """Relative to the file's folder; symbolic links and ``..`` are left to the kernel."""
    if "\0" in text:
        raise ValueError
    return str(folder / text) if text else ""


def _socket(text: str, folder: Path) -> str:
    path = _path(text, folder)
    if len(os.fsencode(path)) > _SOCKET_PATH_LIMIT:
        raise ValueError
    return path


def _host(text: str, folder: Path) -> str:
    if text.startswith("[") and ip_address(text[1:-1]).version != 6:
        raise ValueError
    return text.lower()


def _listener(text: str, folder: Path) -> str:
    try:
        parse_listener(text)
    except ListenerError as error:
        raise Unexpected(str(error)) from None
    return text


def _unix_listener(text: str, folder: Path) -> str:
    if text and parse_listener(_listener(text, folder)).kind != "unix":
        raise Unexpected("a unix: listener, whose mode says who may read; by TCP, scrape /metrics with a credential")
    return text


_UNWRITTEN_PORTS = (("http", 80), ("https", 443))


def _origin(text: str, folder: Path) -> str:
    """Exactly what a browser sends (RFC 6454 section 6.2): another spelling would silently never match."""
    url = urlsplit(text)
    if text != f"{url.scheme}://{url.netloc}".lower() or (url.scheme, url.port) in _UNWRITTEN_PORTS:
        raise ValueError
    if re.search(r"[!$&'()*+,;=]", text):  # a host may have them, no real one does, and policies are lists between them
        raise ValueError
    return _address(text, folder)


def _address(text: str, folder: Path) -> str:
    """An http or https URL, plain enough to show: no credentials, query or fragment."""
    url = urlsplit(text)
    if text and (url.scheme not in ("http", "https") or not url.hostname or url.port == 0):
        raise ValueError
    if re.search(r"[^\x21-\x7e]|[@?#\\]", text):
        raise ValueError
    return text


# Fields that mean something else to a server, a client or a proxy on the way.
_TAKEN_HEADERS = frozenset(
    "accept accept-encoding authorization connection content-encoding content-length content-type cookie date"
    " expect forwarded host keep-alive origin proxy-authenticate proxy-authorization retry-after server"
    " set-cookie te trailer transfer-encoding upgrade vary via www-authenticate x-api-key".split()
)


def _header(text: str, folder: Path) -> str:
    if text.lower() in _TAKEN_HEADERS:
        raise ValueError
    return text


# -- kinds of value --------------------------------------------------------------------------------

Seconds = Annotated[float, Meta(gt=0, le=86_400, description="a number of seconds > 0, at most 86400")]
Share = Annotated[float, Meta(ge=0, le=1, description="a share from 0 to 1")]
Rate = Annotated[float, Meta(gt=0, le=1_000_000, description="a number per second > 0, at most 1000000")]
Tokens = Annotated[int, Meta(ge=1, le=100_000_000, description="a number of tokens from 1 to 100000000")]
Count = Annotated[int, Meta(ge=1, le=1_000_000, description="a whole number from 1 to 1000000")]
CountOrNone = Annotated[int, Meta(ge=0, le=1_000_000, description="a whole number from 0 to 1000000")]
FieldCount = Annotated[int, Meta(ge=1, le=1_000, description="a whole number from 1 to 1000")]
BodySize = Annotated[
    int,
    Meta(ge=1, le=1 << 36, description='a size from 1 to "64GiB", in bytes or such as "64KiB"'),
    Reader(_size, _size_text),
]
HeadSize = Annotated[
    int,
    Meta(ge=1 << 10, le=1 << 20, description='a size from "1KiB" to "1MiB", such as "32KiB"'),
    Reader(_size, _size_text),
]
InputSize = Annotated[
    int,
    Meta(ge=1 << 10, le=1 << 20, description='a size from "1KiB" to "1MiB", such as "64KiB"'),
    Reader(_size, _size_text),
]
ReplaySize = Annotated[
    int,
    Meta(ge=64 << 10, le=1 << 30, description='a size from "64KiB" to "1GiB", such as "4MiB"'),
    Reader(_size, _size_text),
]
Switch = Annotated[bool, Meta(description="true or false")]
File = Annotated[str, Meta(description='a path, or "" for none'), Reader(_path)]
Folder = Annotated[str, Meta(min_length=1, description="a path"), Reader(_path)]
ControlSocket = Annotated[
    str, Meta(description='a path of at most 107 bytes, or "" for the usual one'), Reader(_socket)
]
UpstreamSocket = Annotated[
    str, Meta(min_length=1, description="a path of at most 107 bytes"), Reader(_socket)
]
Listen = Annotated[
    str, Meta(description="a listener such as tcp:8082:interface=127.0.0.1"), Reader(_listener)
]
UnixListen = Annotated[
    str,
    Meta(description='a listener such as unix:/run/hadesgw/metrics.sock:mode=660, or ""'),
    Reader(_unix_listener),
]
Host = Annotated[
    str,
    Meta(
        pattern=r"\A(?:[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,252}[A-Za-z0-9_])?|\[[0-9A-Fa-f:.]{2,45}\])\Z",
        description="a host name without a port",
    ),
    Reader(_host),
]
Name = Annotated[
    str,
    Meta(
        pattern=r"\A[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z",
        description="a name of up to 64 letters, digits, dots, underscores or hyphens",
    ),
]
Model = Annotated[
    str,
    Meta(pattern=r"\A[^\s\x00-\x1f\x7f]{1,256}\Z", description="a model name of up to 256 characters"),
]
FieldName = Annotated[
    str,
    Meta(
        pattern=r"\A[A-Za-z_][A-Za-z0-9_]{0,63}\Z",
        description="a field name of up to 64 letters, digits or underscores",
    ),
]
RoutePath = Annotated[
    str,
    Meta(
        # Whole, plain segments (RFC 3986 section 3.3): none empty, no dots, no escape with two spellings.
        pattern=r"\A(?:/|(?:/(?!\.{1,2}(?:/|\Z))[A-Za-z0-9._~!$&'()*+,;=:@-]+)+)\Z",
        description='a path such as "/v1", of plain segments, without a slash at its end',
    ),
]
Layer = Annotated[str, Meta(pattern=r"\A[a-z][a-z0-9-]{0,63}\Z", description='a layer name such as "guard"')]
Layers = Annotated[tuple[Layer, ...], Meta(min_length=1, description="a list of layers, at least one")]
HeaderName = Annotated[
    str,
    Meta(
        # A token (RFC 9110 section 5.6.2) without "_", which front servers fold into "-".
        pattern=r"\A[A-Za-z0-9!#$%&'*+.^`|~-]{1,64}\Z",
        description="a header name of up to 64 characters, without underscores, that means nothing else",
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
    Reader(_address),
]

# -- the sections ----------------------------------------------------------------------------------


class Section(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A TOML table: attribute names are key names."""


class Server(Section, frozen=True, kw_only=True):
    """Where we listen, and by what names we are called."""

    listen: Annotated[
        tuple[Listen, ...], Meta(min_length=1, description="a list of listeners, at least one")
    ] = ("tcp:8082:interface=127.0.0.1",)
    control: ControlSocket = ""
    names: Annotated[tuple[Host, ...], Meta(description="a list of host names")] = ()
    half_close: Annotated[Literal["abort", "answer"], Meta(description='"abort" or "answer"')] = "abort"


class Tls(Section, frozen=True, kw_only=True):
    """PEM files of the ``tls:`` listeners."""

    certificate: File = ""
    private_key: File = ""
    client_ca: File = ""


class Upstream(Section, frozen=True, kw_only=True):
    """One vLLM behind an AF_UNIX socket. Token limits of None are those of `Budget`."""

    name: Name
    socket: UpstreamSocket
    models: Annotated[tuple[Model, ...], Meta(description='a list of model names, or ["*"]')] = ()
    max_in_flight: Count = 16
    context_tokens: Tokens | None = None
    output_tokens: Tokens | None = None


class Clients(Section, frozen=True, kw_only=True):
    """Who may come."""

    file: File = "clients.toml"
    anonymous: Annotated[
        Literal["", "observer", "user"], Meta(description='"observer", "user", or "" for nobody')
    ] = ""


class Body(Section, frozen=True, kw_only=True):
    """Caps on request bodies, in bytes; `memory` is for all bodies held at one time.

    In TOML the entries of `routes` are keys of this very table, told apart by their leading slash.
    """

    default: BodySize = 64 << 10
    memory: BodySize = 256 << 20
    routes: Annotated[
        dict[RoutePath, BodySize], Meta(description="a table of sizes by path"), Inline("/")
    ] = msgspec.field(default_factory=lambda: {"/v1/responses": 16 << 20})

    def cap(self, path: bytes) -> int:
        """The most bytes a body sent to `path` (no query) may have.

        The longest of `routes` that is the path or a leading part of it, in whole segments, decides.
        """
        text = path.decode("latin-1")
        covering = [
            route for route in self.routes if text == route or text.startswith(route.rstrip("/") + "/")
        ]
        return self.routes[max(covering, key=len)] if covering else self.default


class Head(Section, frozen=True, kw_only=True):
    """Bounds on a request's head: bytes of request line and fields together, and number of fields."""

    bytes: HeadSize = 32 << 10
    fields: FieldCount = 100


class ResponseHead(Section, frozen=True, kw_only=True):
    """Bound on the head of an upstream's answer, in bytes."""

    bytes: HeadSize = 64 << 10


class Limits(Section, frozen=True, kw_only=True):
    """How much one client, and all of them, may ask."""

    requests_per_second: Rate = 5.0
    burst: Count = 10
    max_in_flight: Count = 4
    queue: CountOrNone = 64
    queue_seconds: Seconds = 30.0
    connections: Count = 10_000
    choices: Count = 16
    remote_media: Switch = False
    refused_fields: Annotated[tuple[FieldName, ...], Meta(description="a list of field names")] = (
        "audio_embeds",
        "cache_salt",
        "ec_transfer_params",
        "image_embeds",
        "kv_transfer_params",
        "prompt_embeds",
        "uuid",
        "video_embeds",
    )
    body: Body = Body()
    head: Head = Head()
    response_head: ResponseHead = ResponseHead()


class Usage(Section, frozen=True, kw_only=True):
    """Whether token usage is asked of the upstream for clients that did not ask."""

    ask_upstream: Switch = False


class Budget(Section, frozen=True, kw_only=True):
    """Token limits of one request, unless its upstream has its own."""

    context_tokens: Tokens = 8_192
    output_tokens: Tokens = 2_048


class Timeouts(Section, frozen=True, kw_only=True):
    """All in seconds."""

    connect: Seconds = 5.0
    first_byte: Seconds = 60.0
    idle: Seconds = 60.0
    request_head: Seconds = 10.0
    request_body: Seconds = 30.0
    drain: Seconds = 300.0


class Cors(Section, frozen=True, kw_only=True):
    """Whose pages may call us from a browser."""

    origins: Annotated[tuple[Origin, ...], Meta(description="a list of origins")] = ("http://localhost:3000",)


class Headers(Section, frozen=True, kw_only=True):
    """Names of the two correlation headers."""

    request_id: HeaderName = "X-Request-ID"
    session_id: HeaderName = "X-Conveyance-Session-ID"


class Codex(Section, frozen=True, kw_only=True):
    """The engine `codex`: where its program is, what its agents may see, where they keep their own files."""

    binary: File = ""
    confinement: Annotated[Literal["required", "none"], Meta(description='"required" or "none"')] = "required"
    readable: Annotated[tuple[Folder, ...], Meta(description="a list of folders")] = ()
    state: File = ""


class Aider(Section, frozen=True, kw_only=True):
    """The engine `aider`: where its environment is, how it edits, what it may see, where it keeps its own files."""

    environment: File = ""
    edit_format: Annotated[Literal["whole", "diff"], Meta(description='"whole" or "diff"')] = "whole"
    commits: Annotated[bool, Meta(description="true or false")] = True
    map_tokens: Annotated[int, Meta(ge=0, le=65_536, description="a whole number from 0 to 65536")] = 0
    confinement: Annotated[Literal["required", "none"], Meta(description='"required" or "none"')] = "required"
    state: File = ""


class Sessions(Section, frozen=True, kw_only=True):
    """Coding sessions: the agent, where it may work, what it may do unasked."""

    engine: Annotated[
        Literal["codex", "aider", "rehearsal"], Meta(description='"codex", "aider" or "rehearsal"')
    ] = "codex"
    model: Annotated[
        str, Meta(pattern=r"\A[^\s\x00-\x1f\x7f]{0,256}\Z", description='a model name, or "" for the first admitted')
    ] = ""
    workspaces: Annotated[dict[Name, Folder], Meta(description="a table of folders by name")] = {}
    default_workspace: Annotated[
        str,
        Meta(pattern=r"\A(?:[A-Za-z0-9][A-Za-z0-9._-]{0,63})?\Z", description='a name in workspaces, or ""'),
    ] = ""
    approval: Annotated[
        Literal["untrusted", "on-request", "never"], Meta(description='"untrusted", "on-request" or "never"')
    ] = "on-request"
    sandbox: Annotated[
        Literal["read-only", "workspace-write"], Meta(description='"read-only" or "workspace-write"')
    ] = "workspace-write"
    max_sessions: Count = 16
    max_per_client: Count = 4
    queue: Count = 32
    input: InputSize = 64 << 10
    replay_messages: Annotated[
        int, Meta(ge=16, le=1_000_000, description="a whole number from 16 to 1000000")
    ] = 4_096
    replay: ReplaySize = 4 << 20
    active_files: Count = 500
    idle_seconds: Seconds = 1_800.0
    age_seconds: Seconds = 86_400.0
    approval_seconds: Seconds = 120.0
    absence_seconds: Seconds = 10.0
    git_seconds: Seconds = 20.0
    niceness: Annotated[int, Meta(ge=0, le=19, description="a whole number from 0 to 19")] = 10
    codex: Codex = Codex()
    aider: Aider = Aider()


class WebSocket(Section, frozen=True, kw_only=True):
    """Bounds on one WebSocket, and for the last two on an event stream of sessions too."""

    message: InputSize = 256 << 10
    frames_per_second: Rate = 50.0
    frames_burst: Count = 200
    unread: ReplaySize = 1 << 20
    ping_seconds: Seconds = 20.0
    pong_seconds: Seconds = 20.0
    close_seconds: Seconds = 3.0
    stall_seconds: Seconds = 30.0
    per_client: Count = 32


class Otel(Section, frozen=True, kw_only=True):
    """Where traces go."""

    endpoint: Url = ""
    service_name: Name = "hadesgw"
    sampled: Share = 1.0


class Hermes(Section, frozen=True, kw_only=True):
    """The registry we announce ourselves to, and the address under which others reach us."""

    url: Url = ""
    endpoint: Url = ""


class WebClient(Section, frozen=True, kw_only=True):
    """What the page at ``/`` begins with, and whom it may call."""

    default_model: Annotated[
        str,
        Meta(
            pattern=r"\A(?:[^\s\x00-\x1f\x7f]{1,256})?\Z",
            description='a model name, or "" for the first that is admitted',
        ),
    ] = ""
    connect: Annotated[tuple[Origin, ...], Meta(description="a list of origins")] = ()


class Metrics(Section, frozen=True, kw_only=True):
    """Where a scraper may come without a credential."""

    listen: UnixListen = ""


class Log(Section, frozen=True, kw_only=True):
    """How we write about ourselves."""

    format: Annotated[Literal["json", "text"], Meta(description='"json" or "text"')] = "json"
    level: Annotated[
        Literal["debug", "info", "warn", "error", "critical"],
        Meta(description='"debug", "info", "warn", "error" or "critical"'),
    ] = "info"


class Telemetry(Section, frozen=True, kw_only=True):
    """What is told apart in metrics and logs: each name is a series, all others are "other"."""

    tools: Annotated[tuple[Name, ...], Meta(max_length=64, description="a list of at most 64 tools' names")] = ()
    memory_tools: Annotated[
        tuple[Name, ...], Meta(max_length=64, description="a list of at most 64 tools' names")
    ] = (
        "store_core",
        "fetch_core",
        "append_fifo",
        "evict_fifo",
        "write_recall",
        "search_recall",
        "search_archival",
        "ingest_archival",
        "record_heartbeat",
        "conversation_search",
        "archival_memory_insert",
        "archival_memory_search",
        "core_memory_append",
        "core_memory_replace",
        "memory",
        "memory_replace",
        "memory_insert",
        "memory_rethink",
        "memory_finish_edits",
        "memory_apply_patch",
    )
    memory_events: Annotated[
        tuple[Name, ...], Meta(max_length=32, description="a list of at most 32 kinds of memory event")
    ] = ("warning", "flush", "hb_start", "hb_end", "summarize", "error", "system_alert", "heartbeat")


class Sections(Section, frozen=True, kw_only=True):
    """The whole file."""

    server: Server = Server()
    tls: Tls = Tls()
    upstream: Annotated[tuple[Upstream, ...], Meta(min_length=1, description="at least one [[upstream]]")] = (
        Upstream(name="vllm", socket="/run/hades/vllm/api.sock", models=("qwen3-coder-30b-a3b-instruct",)),
    )
    tree: Annotated[
        dict[RoutePath, Layers], Meta(min_length=1, description="a table of layers by path, at least one")
    ] = msgspec.field(
        default_factory=lambda: {
            "/v1": ("metered", "cors", "guard", "limiter", "validation", "proxy"),
            "/api/ticket": ("metered", "cors", "guard", "ticket"),
            "/api/codex": ("metered", "cors", "guard", "limiter", "codex"),
            "/ws/codex": ("metered", "guard", "codex-socket"),
            "/api/hermes": ("metered", "cors", "hermes"),
            "/sdk": ("metered", "cors", "sdk"),
            "/metrics": ("guard", "metrics"),
            "/healthz": ("health",),
            "/readyz": ("readiness",),
            "/": ("webclient",),
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
    websocket: WebSocket = WebSocket()
    hermes: Hermes = Hermes()
    otel: Otel = Otel()
    webclient: WebClient = WebClient()
    telemetry: Telemetry = Telemetry()
    metrics: Metrics = Metrics()
    log: Log = Log()


class Config(Sections, frozen=True, kw_only=True):
    """A configuration and where it came from.

    :ivar source: the file's name, for messages.
    :ivar folder: the directory its relative paths were taken from.
    """

    source: str = BUILT_IN
    folder: str = "."

    def upstream_of(self, model: str) -> Upstream:
        """Where requests for `model` go, as far as that is written here; the first one where it is not."""
        named = (upstream for upstream in self.upstream if model in upstream.models)
        unnamed = (upstream for upstream in self.upstream if {*upstream.models} <= {"*"})
        return next(named, None) or next(unnamed, self.upstream[0])

    def tokens(self, upstream: Upstream) -> tuple[int, int]:
        """The `context_tokens` and the `output_tokens` in force there."""
        context, output = upstream.context_tokens, upstream.output_tokens
        return context or self.budget.context_tokens, output or self.budget.output_tokens


# -- reading ---------------------------------------------------------------------------------------


def load(path: str | None) -> Config:
    """Read the file at `path`, or the built-in defaults where that is None.

    A given file replaces the defaults wholly: a key it leaves out has its default of `describe`, the
    ``[tree]`` and the ``[[upstream]]`` it writes are all there are. Relative paths become absolute, from the
    file's folder (without a file: from the working one).

    :raises ConfigError: for a file that cannot be read, is no TOML, or says something it may not say.
    """
    if path is None:
        return parse(default_text(), BUILT_IN, Path.cwd())
    try:
        with open(path, "rb") as file:
            content = file.read(_FILE_LIMIT + 1)
        folder = Path(path).absolute().parent
    except OSError as error:
        raise ConfigError(path, "", f"a readable file: {error.strerror}") from None
    except ValueError:
        raise ConfigError(path, "", "a readable file: no file can have this name") from None
    if len(content) > _FILE_LIMIT:
        raise ConfigError(path, "", "a file of at most 1 MiB")
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigError(path, f"line {line}", "UTF-8 text") from None
    return parse(text, path, folder)


def parse(text: str, source: str, folder: Path) -> Config:
    """Read TOML `text`; `source` names it in errors, relative paths are taken from `folder`.

    :raises ConfigError: as `load`.
    """
    sections = read(text, Sections, source, folder)
    config = Config(source=source, folder=str(folder), **msgspec.structs.asdict(sections))
    for key, expected in _contradictions(config):
        raise ConfigError(source, key, expected)
    return config


def default_text() -> str:
    """The built-in defaults: package data in a wheel, ``etc/hadesgw.toml`` in a checkout."""
    return _default_text(files("hadesgw"), Path(__file__).parent.parent)


def _default_text(package: Traversable, checkout: Path) -> str:
    packaged = package / "defaults.toml"
    if packaged.is_file():
        return packaged.read_text(encoding="utf-8")
    return (checkout / "etc" / "hadesgw.toml").read_text(encoding="utf-8")


def describe() -> Iterator[Key]:
    """Every key there is, in the order of the file."""
    return keys(Sections)


# -- keys that are right alone and wrong together: (key path, expected), naming both ---------------


def _contradictions(config: Config) -> Iterator[tuple[str, str]]:
    yield from _listening(config)
    yield from _upstreams(config)
    for name, cap in {"default": config.limits.body.default, **config.limits.body.routes}.items():
        if cap > config.limits.body.memory:
            yield key_path("limits.body", name), "a size of at most limits.body.memory"
    if config.headers.request_id.lower() == config.headers.session_id.lower():
        yield "headers.session_id", "another name than headers.request_id has"
    model = config.webclient.default_model
    if model and all(upstream.models and not {model, "*"} & {*upstream.models} for upstream in config.upstream):
        yield "webclient.default_model", f"a model that an upstream admits, got {shown(model)}"
    yield from _sessions(config)


def _listening(config: Config) -> Iterator[tuple[str, str]]:
    listeners = [parse_listener(description) for description in config.server.listen]
    for index, listener in enumerate(listeners):
        for earlier, other in enumerate(listeners[:index]):
            if listener.collides(other):
                yield f"server.listen[{index}]", f"another place than server.listen[{earlier}] has"
    if config.metrics.listen:
        scraped = parse_listener(config.metrics.listen)
        for index, listener in enumerate(listeners):
            if listener.collides(scraped):
                yield "metrics.listen", f"another place than server.listen[{index}] has"
    tls = config.tls
    if not tls.certificate and (tls.private_key or tls.client_ca):
        yield "tls.certificate", "a path, since tls.private_key or tls.client_ca has one"
    if tls.certificate and not tls.private_key:
        yield "tls.private_key", "a path, since tls.certificate has one"
    if not tls.certificate and any(listener.encrypted for listener in listeners):
        yield "tls.certificate", "a path, since server.listen has a tls: listener"


def _upstreams(config: Config) -> Iterator[tuple[str, str]]:
    seen: dict[str, int] = {}
    owners: dict[str, int] = {}  # of a model: a request must have one place to go to
    for index, upstream in enumerate(config.upstream):
        first = seen.setdefault(upstream.name, index)
        if first != index:
            yield f"upstream[{index}].name", f"another name than upstream[{first}].name has"
        if "*" in upstream.models and len(upstream.models) > 1:
            yield f"upstream[{index}].models", 'names, or "*" alone'
        for at, model in enumerate(upstream.models):
            first = owners.setdefault(model, index)
            if first != index:
                yield f"upstream[{index}].models[{at}]", f"a name that is not in upstream[{first}].models too"
        output, output_key = _token_limit(config, index, "output_tokens")
        context, context_key = _token_limit(config, index, "context_tokens")
        if (
            output >= context
        ):  # no room for a prompt: whoever names no limit and is given ours would be refused
            yield output_key, f"fewer tokens than {context_key}"


def _sessions(config: Config) -> Iterator[tuple[str, str]]:
    sessions = config.sessions
    workspace = sessions.default_workspace
    if workspace and workspace not in sessions.workspaces:
        yield "sessions.default_workspace", f"a name in sessions.workspaces, got {shown(workspace)}"
    if sessions.codex.confinement == "none" and sessions.sandbox == "read-only":
        yield "sessions.codex.confinement", '"required", since sessions.sandbox is "read-only"'
    if sessions.aider.confinement == "none" and sessions.sandbox == "read-only":
        yield "sessions.aider.confinement", '"required", since sessions.sandbox is "read-only"'
    if sessions.engine == "aider" and sessions.approval == "untrusted":
        yield "sessions.approval", '"on-request" or "never", since sessions.engine is "aider", which asks for nothing'
    if sessions.max_per_client > sessions.max_sessions:
        yield "sessions.max_per_client", "no more than sessions.max_sessions"
    # An agent writes what is in its workspace, and reads it: nothing that this gateway rests on may be there.
    ours = {"clients.file": config.clients.file, "tls.private_key": config.tls.private_key}
    ours |= {f"upstream[{at}].socket": upstream.socket for at, upstream in enumerate(config.upstream)}
    for name, folder in sessions.workspaces.items():
        inside = [key for key, path in ours.items() if path and _lies_in(path, folder)]
        if _lies_in("/", folder):
            yield key_path("sessions.workspaces", name), "a folder, and not the whole machine"
        elif inside:
            yield key_path("sessions.workspaces", name), f"a folder that {inside[0]} is not in"


def _lies_in(path: str, folder: str) -> bool:
    return os.path.commonpath([os.path.normpath(path), os.path.normpath(folder)]) == os.path.normpath(folder)


def _token_limit(
    config: Config, index: int, name: Literal["context_tokens", "output_tokens"]
) -> tuple[int, str]:
    """The limit in force for an upstream, and the key that sets it."""
    own: int | None = getattr(config.upstream[index], name)
    if own is not None:
        return own, f"upstream[{index}].{name}"
    return getattr(config.budget, name), f"budget.{name}"


# -- the clients file's place ----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ClientsSource:
    """Where the clients are written: at `path` (file, credential), in `text` (environment), or nowhere."""

    kind: Literal["file", "credential", "environment", "none"]
    path: str = ""
    text: str = field(default="", repr=False)


def clients_source(config: Config, environ: Mapping[str, str]) -> ClientsSource:
    """Choose where the clients are read from: the first of these that is there.

    1. ``clients.file``. Under another name than its default it must be there, and nothing else is looked at;
       an empty one is passed over.
    2. ``$CREDENTIALS_DIRECTORY/clients``, which systemd's ``LoadCredential=clients:...`` makes.
    3. The TOML text in ``$HADESGW_CLIENTS``. Taking it out of the environment is the caller's part.

    A dangling symbolic link is there: a file that is not rendered yet must not let another one in.

    :raises ConfigError: if ``clients.file`` must be there and is not.
    """
    path = config.clients.file
    if path and os.path.lexists(path):
        return ClientsSource("file", path=path)
    if path and Path(path) != Path(config.folder, Clients().file):
        raise ConfigError(config.source, "clients.file", f"a file that exists, got {shown(path)}")
    folder = environ.get("CREDENTIALS_DIRECTORY", "")
    credential = Path(folder, "clients")
    if folder and os.path.lexists(credential):
        return ClientsSource("credential", path=str(credential))
    text = environ.get("HADESGW_CLIENTS", "")
    return ClientsSource("environment", text=text) if text else ClientsSource("none")
