"""Who asks: the credential a request presents, the clients we know, and the verdict on the two.

A token is never kept. It is hashed where it is read, the clients file holds digests only, and from then on
digests are compared. Whatever goes wrong ends in a `Denied`: there is no default client, and a `Client`
cannot be built empty.
"""

from __future__ import annotations

import base64
import enum
import hashlib
import hmac
import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal, NamedTuple, TypeAlias, TypeVar

import msgspec
from msgspec import Meta

from hadesgw.policy import toml
from hadesgw.policy.guarded_file import SECRET, Unfit, read_guarded
from hadesgw.policy.toml import ConfigError

ANONYMOUS = "anonymous"
"""The name of the client that presents nothing. No entry of a clients file may take it."""

TOKEN_BYTES = 32
"""Random bytes in a token we make; 16 would meet the rule of 128 bits."""

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")  # also a metric label and a log field, so bounded and plain
_NAME_RULE = "1 to 64 characters of a-z 0-9 . _ - that begin with a letter or digit"


# -- The values ----------------------------------------------------------------------------------------------


class Role(enum.IntEnum):
    """What a client may do; each role may do all that the ones before it may."""

    OBSERVER = 1
    USER = 2
    ADMIN = 3

    @property
    def word(self) -> str:
        """The role as configuration and logs write it."""
        return self.name.lower()


class Token(msgspec.Struct, frozen=True):
    """One token, known by its digest.

    :ivar sha256: the 32 bytes of the token's SHA-256.
    :ivar expires: the first moment at which it no longer counts (with its time zone), or None for never.
    """

    sha256: bytes
    expires: datetime | None = None

    def __post_init__(self) -> None:
        if len(self.sha256) != hashlib.sha256().digest_size:
            raise ValueError("a SHA-256 digest has 32 bytes")
        if self.expires is not None and self.expires.utcoffset() is None:
            raise ValueError("an expiry needs its time zone")


class Client(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody who may come in. A limit that is None is the gateway's own.

    :ivar name: unique; stands for the client in metrics and logs.
    :ivar roles: at least one.
    :ivar tokens: any of them will do, so that one can be exchanged for the next.
    :ivar models: the only models this client may name, or None for all that are served.
    :ivar requests_per_second: on the long run.
    :ivar burst: requests at once.
    :ivar max_in_flight: requests at one time.
    :ivar tokens_per_minute: model tokens, prompt and output together.
    :ivar certificate: a name in the TLS client certificate that is as good as a token, or None; see
        :class:`ClientCertificate`.
    """

    name: str
    roles: frozenset[Role]
    tokens: tuple[Token, ...] = ()
    models: tuple[str, ...] | None = None
    requests_per_second: float | None = None
    burst: int | None = None
    max_in_flight: int | None = None
    tokens_per_minute: int | None = None
    certificate: str | None = None

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ValueError(f"a client's name is {_NAME_RULE}")
        if not self.roles:
            raise ValueError("a client has at least one role")

    def may(self, role: Role) -> bool:
        """Whether the client may do what `role` may."""
        return max(self.roles) >= role


def anonymous_client(role: Role) -> Client:
    """The client that stands for everybody who presents nothing; only for listeners on loopback."""
    return Client(name=ANONYMOUS, roles=frozenset((role,)))


class DenialReason(enum.StrEnum):
    """Why nobody was admitted: a bounded word for metrics and logs."""

    MISSING = "missing"
    MALFORMED = "malformed"
    UNKNOWN = "unknown"
    NAME_MISMATCH = "name_mismatch"
    EXPIRED = "expired"
    SUSPENDED = "suspended"


class Credential(msgspec.Struct, frozen=True):
    """What a request presented, hashed. Its repr shows neither part: both were chosen by whoever sent them.

    :ivar sha256: digest of the presented token.
    :ivar name: the name that came with it (Basic), or None.
    """

    sha256: bytes
    name: str | None = None

    def __repr__(self) -> str:
        return "<Credential>"

    __str__ = __repr__


class ClientCertificate(msgspec.Struct, frozen=True):
    """What a client proved to be by TLS.

    :ivar names: ``DNS:name``, in lower case, and ``URI:uri`` of each alternative name of those kinds, and the whole
        subject in the form of RFC 4514. The kinds differ in spelling, so none can be taken for another.
    :ivar expires: the first moment at which it no longer counts, with its time zone.
    """

    names: frozenset[str]
    expires: datetime


def _canonical(certificate: str) -> str:
    """A name as :class:`ClientCertificate` spells it: letter case means nothing in DNS (RFC 4343)."""
    kind, colon, name = certificate.partition(":")
    return kind + colon + name.lower() if kind == "DNS" else certificate


class CredentialError(msgspec.Struct, frozen=True):
    """A value, not an exception: the request presented nothing, or nothing that can be read."""

    reason: DenialReason


class Admitted(msgspec.Struct, frozen=True):
    """The request is `client`'s."""

    client: Client

    def __post_init__(self) -> None:
        if not isinstance(self.client, Client):
            raise TypeError("only a client can be admitted")


class Denied(msgspec.Struct, frozen=True):
    """The request is nobody's.

    :ivar client: for the log: name of the configured client whose token it was, where there is one.
    """

    reason: DenialReason
    client: str | None = None


Verdict: TypeAlias = Admitted | Denied


# -- What a request presents ---------------------------------------------------------------------------------

_LONGEST = 1024  # bytes of a field's value; ours have less than 200
_BEARER = re.compile(rb"(?i:bearer) +([A-Za-z0-9._~+/-]+=*)")  # b64token of RFC 6750 2.1
_BASIC = re.compile(  # RFC 7617 2, with base64 as RFC 4648 4 has it: Python's decoder lets more pass
    rb"(?i:basic) +((?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?)"
)
_PAIR = re.compile(rb"([^:\x00-\x1f\x7f]+):([^\x00-\x1f\x7f]+)")
_KEY = re.compile(rb"[!-~]+")

_MISSING = CredentialError(DenialReason.MISSING)
_MALFORMED = CredentialError(DenialReason.MALFORMED)


def parse_authorization(values: Sequence[bytes], x_api_key: Sequence[bytes]) -> Credential | CredentialError:
    """Read a request's credential: Bearer (RFC 6750), Basic (RFC 7617: client name and token) or `x-api-key`.

    Never raises. Two fields of a kind are malformed even if they agree, since another reader might take the
    other one; an `Authorization` and an `x-api-key` may stand side by side if they carry the same token, as
    some SDKs send both.

    :param values: the values of all `Authorization` fields, without surrounding white space.
    :param x_api_key: the values of all `x-api-key` fields, likewise.
    """
    if len(values) == 1 and not x_api_key:  # nearly always
        return _authorization(values[0])
    if len(values) > 1 or len(x_api_key) > 1:
        return _MALFORMED
    authorization = _authorization(values[0]) if values else None
    key = _api_key(x_api_key[0]) if x_api_key else None
    if isinstance(authorization, CredentialError) or isinstance(key, CredentialError):
        return _MALFORMED
    if authorization is None or key is None:
        return authorization or key or _MISSING
    return authorization if hmac.compare_digest(authorization.sha256, key.sha256) else _MALFORMED


def _authorization(value: bytes) -> Credential | CredentialError:
    if len(value) > _LONGEST:
        return _MALFORMED
    if bearer := _BEARER.fullmatch(value):
        return _credential(bearer[1])
    if basic := _BASIC.fullmatch(value):
        return _basic(basic[1])
    return _MALFORMED


def _basic(encoded: bytes) -> Credential | CredentialError:
    try:
        pair = _PAIR.fullmatch(base64.b64decode(encoded))
        return _credential(pair[2], pair[1].decode()) if pair else _MALFORMED
    except UnicodeDecodeError:
        return _MALFORMED


def _api_key(value: bytes) -> Credential | CredentialError:
    return _credential(value) if len(value) <= _LONGEST and _KEY.fullmatch(value) else _MALFORMED


def _credential(token: bytes, name: str | None = None) -> Credential:
    return Credential(hashlib.sha256(token).digest(), name)


# -- Whom we know --------------------------------------------------------------------------------------------


class _Holding(NamedTuple):
    """A token, whose it is, and what is said to who shows it."""

    token: Token
    client: Client
    admitted: Admitted


class ClientDirectory:
    """The clients of one clients file; immutable.

    :ivar clients: in the order of the file.
    :raises ValueError: if two share a name, a token or a certificate: the later would silently become the
        earlier.
    """

    __slots__ = ("_by_certificate", "_by_digest", "_by_name", "clients")

    def __init__(self, clients: Iterable[Client]) -> None:
        self.clients = tuple(clients)
        holdings = [_Holding(token, client, Admitted(client)) for client in self.clients for token in client.tokens]
        certified = [client for client in self.clients if client.certificate is not None]
        self._by_name = {client.name: client for client in self.clients}
        self._by_digest = {holding.token.sha256: holding for holding in holdings}
        self._by_certificate = {_canonical(client.certificate or ""): client for client in certified}
        if len(self._by_name) < len(self.clients):
            raise ValueError("two clients have one name")
        if len(self._by_digest) < len(holdings):
            raise ValueError("one token is listed twice")
        if len(self._by_certificate) < len(certified):
            raise ValueError("two clients have one certificate")

    def __len__(self) -> int:
        return len(self.clients)

    def named(self, name: str) -> Client | None:
        """The client of that name."""
        return self._by_name.get(name)

    def identify(self, presented: Credential | CredentialError, now: datetime) -> Verdict:
        """Whose credential this is.

        The digest is looked up in a hash table, which costs the same for one client as for ten thousand. That
        tells no more about the tokens we hold than comparing with every one of them would: a sender knows the
        digest of what is sent, but the table compares bytes only once the whole of a 64-bit keyed hash of it
        (SipHash) agrees, so there is no prefix to grow guess by guess; and whoever could choose a digest to
        agree would have inverted SHA-256. `compare_digest` then has the last word, so that admission rests on
        no property of the table. `benchmarks/token_timing.py` watches this.

        :param now: the time, with its time zone.
        """
        if isinstance(presented, CredentialError):
            return Denied(presented.reason)
        holding = self._by_digest.get(presented.sha256)
        if holding is None or not hmac.compare_digest(holding.token.sha256, presented.sha256):
            return Denied(DenialReason.UNKNOWN)
        token, client, admitted = holding
        if presented.name is not None and presented.name != client.name:
            return Denied(DenialReason.NAME_MISMATCH, client.name)
        if token.expires is not None and now >= token.expires:
            return Denied(DenialReason.EXPIRED, client.name)
        return admitted

    def recognise(self, presented: ClientCertificate, now: datetime) -> Verdict:
        """Whose certificate this is: of the one client that one of its names belongs to. If they belong to
        several it is nobody's, for the order of names in a certificate means nothing.

        :param presented: what TLS has verified.
        :param now: the time, with its time zone; a connection may outlast the certificate that opened it.
        """
        found = [self._by_certificate[name] for name in presented.names if name in self._by_certificate]
        if len(found) != 1:
            return Denied(DenialReason.UNKNOWN)
        (client,) = found
        if now >= presented.expires:
            return Denied(DenialReason.EXPIRED, client.name)
        return Admitted(client)


Warrant = Callable[[], Client | None]
"""By what somebody has come in: gives the client if it would let that in at this moment, too, and None if not."""


class ClientStore:
    """The clients of now: the directory can be exchanged while serving, and a client can be suspended.

    A suspension is kept by name and outlasts an exchange, even one that leaves the client out for a while: a
    reload must not let somebody back in whom an administrator put out.

    :param anonymous: who a request without credential is, or None to deny it.
    """

    def __init__(self, directory: ClientDirectory, anonymous: Client | None) -> None:
        self._directory = directory
        self._anonymous = anonymous
        self._suspended: set[str] = set()

    @property
    def directory(self) -> ClientDirectory:
        """The directory in force."""
        return self._directory

    def named(self, name: str) -> Client | None:
        """The client of that name, as the directory in force has it."""
        return self._directory.named(name)

    @property
    def everybody(self) -> tuple[Client, ...]:
        """The clients in force, suspended or not; the anonymous one last, if there is one."""
        return self._directory.clients if self._anonymous is None else (*self._directory.clients, self._anonymous)

    def standing(self, name: str) -> Client | None:
        """The client of that name, unless it is gone or suspended."""
        if name in self._suspended:
            return None
        if self._anonymous is not None and self._anonymous.name == name:
            return self._anonymous
        return self._directory.named(name)

    @property
    def suspended(self) -> frozenset[str]:
        """The names that are suspended, of clients here and gone."""
        return frozenset(self._suspended)

    def replace(self, directory: ClientDirectory) -> None:
        """Put `directory` in force; what was admitted before is not taken back."""
        self._directory = directory

    def suspend(self, name: str) -> bool:
        """Deny the client of that name from now on; False if there is none, and then nothing changes."""
        if self._directory.named(name) is None and (self._anonymous is None or self._anonymous.name != name):
            return False
        self._suspended.add(name)
        return True

    def resume(self, name: str) -> bool:
        """End a suspension; False if there was none."""
        if name not in self._suspended:
            return False
        self._suspended.remove(name)
        return True

    def identify(
        self,
        presented: Credential | CredentialError,
        now: datetime,
        certificate: ClientCertificate | None = None,
    ) -> Verdict:
        """As :meth:`ClientDirectory.identify`, then the certificate, the anonymous client and suspensions.

        A certificate counts for who presents nothing else, so that one program may hold the certificate of a
        machine and say by tokens for whom it asks. Anonymous is only who presents neither: a credential that
        fails is not forgiven, and a certificate that we do not know is one that fails.

        :param certificate: what the client has proved to be by TLS.
        """
        verdict = self._directory.identify(presented, now)
        if isinstance(verdict, Denied) and verdict.reason is DenialReason.MISSING:
            if certificate is not None:
                verdict = self._directory.recognise(certificate, now)
            elif self._anonymous is not None:
                verdict = Admitted(self._anonymous)
        return self._unless_suspended(verdict)

    def warrant(
        self,
        name: str,
        presented: Credential | CredentialError,
        now: Callable[[], datetime],
        certificate: ClientCertificate | None,
    ) -> Warrant:
        """What the client of that name has come in by, for what lasts longer than a request.

        It ends with the client's standing, and with the credential's: when that expires, is taken out of the file, or
        is another client's. Parameters as :meth:`identify`.
        """

        def admitted() -> Client | None:
            verdict = self.identify(presented, now(), certificate)
            return verdict.client if isinstance(verdict, Admitted) and verdict.client.name == name else None

        return admitted

    def _unless_suspended(self, verdict: Verdict) -> Verdict:
        if isinstance(verdict, Admitted) and verdict.client.name in self._suspended:
            return Denied(DenialReason.SUSPENDED, verdict.client.name)
        return verdict


# -- New tokens ----------------------------------------------------------------------------------------------


def mint_token(entropy: Callable[[int], bytes]) -> str:
    """A new token, valid in all three places a request may carry one.

    :param entropy: returns that many random bytes, such as `os.urandom`.
    :raises ValueError: if it returns another number of them.
    """
    random = entropy(TOKEN_BYTES)
    if len(random) != TOKEN_BYTES:
        raise ValueError(f"a token needs {TOKEN_BYTES} random bytes")
    return "hgw_" + base64.urlsafe_b64encode(random).rstrip(b"=").decode()


def token_entry(token: str, expires: datetime | None) -> str:
    """One item of a client's `tokens`, in TOML; it holds the digest, not the token.

    :param expires: to the second, what is finer is cut off.
    :raises ValueError: if `expires` has no time zone.
    """
    digest = Token(hashlib.sha256(token.encode()).digest(), expires).sha256.hex()
    if expires is None:
        return f'{{ sha256 = "{digest}" }}'
    moment = expires.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="seconds")
    return f'{{ sha256 = "{digest}", expires = {moment}Z }}'


def entry(name: str, token: str, roles: Iterable[Role], expires: datetime | None) -> str:
    """The entry of a new client for the clients file, in TOML.

    :raises ValueError: if the name is reserved or not a name, there are no roles, or `expires` has no time
        zone.
    """
    if name == ANONYMOUS:
        raise ValueError(f"the name {ANONYMOUS} is reserved")
    client = Client(name=name, roles=frozenset(roles))
    words = ", ".join(f'"{role.word}"' for role in sorted(client.roles))
    return f'[[client]]\nname = "{name}"\nroles = [{words}]\ntokens = [{token_entry(token, expires)}]\n'


# -- The clients file ----------------------------------------------------------------------------------------


class ClientsError(ConfigError):
    """A clients file that cannot be used. Its line repeats no value of the file, which might be a token."""


def read_clients(path: str, credentials_directory: str | None) -> ClientDirectory:
    """Read the clients file at `path`; see :func:`clients_text` and :func:`parse_clients`."""
    return parse_clients(clients_text(path, credentials_directory), path)


_LARGEST = 4 << 20  # bytes: some 20,000 clients


def clients_text(path: str, credentials_directory: str | None) -> str:
    """The text of the clients file at `path`.

    The file must be its owner's alone, for digests tell who may come in and a writable one lets anybody in;
    see :func:`hadesgw.policy.guarded_file.read_guarded`.

    :param credentials_directory: the value of `$CREDENTIALS_DIRECTORY`, or None.
    :raises ClientsError: if it cannot be read, is too large or not UTF-8, or others may read or write it.
    """
    try:
        return read_guarded(path, SECRET, _LARGEST, credentials_directory).decode()
    except Unfit as unfit:
        raise ClientsError(path, "", str(unfit)) from None
    except UnicodeDecodeError:
        raise ClientsError(path, "", "UTF-8 text") from None


_Name = Annotated[
    str,
    Meta(pattern=rf"\A(?!{ANONYMOUS}\Z){_NAME.pattern}\Z", description=f"{_NAME_RULE}, and not {ANONYMOUS}"),
]
_Digest = Annotated[
    str,
    Meta(
        pattern=r"\A[0-9A-Fa-f]{64}\Z",
        description="64 hex digits: the token's SHA-256, never the token itself",
    ),
]
_Moment = Annotated[datetime, Meta(tz=True, description="a date-time with its offset, such as 2027-01-01T00:00:00Z")]
_RoleWord = Annotated[Literal["observer", "user", "admin"], Meta(description='one of "observer", "user" and "admin"')]
_Model = Annotated[str, Meta(min_length=1, max_length=256, description="a model's name")]
_Rate = Annotated[float, Meta(gt=0, le=1_000_000, description="a number per second > 0, at most 1000000")]
_Count = Annotated[int, Meta(ge=1, le=1_000_000, description="a whole number from 1 to 1000000")]
_Tokens = Annotated[int, Meta(ge=1, le=1_000_000_000, description="a whole number from 1 to 1000000000")]
_Certificate = Annotated[
    str,
    Meta(
        pattern=r"\A(?=.{1,255}\Z)(?:DNS:[!-)+-~]+|URI:[!-~]+|[A-Za-z0-9.]+=[ -~]*[!-~])\Z",
        description='a name in a certificate, such as "DNS:robot.example", "URI:spiffe://example/robot" or "CN=robot",'
        " without wild cards",
    ),
]


class _TokenEntry(msgspec.Struct, frozen=True, kw_only=True):
    sha256: _Digest
    expires: _Moment | None = None


class _ClientEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One `[[client]]`: the keys and rules of :class:`Client` as TOML has them."""

    name: _Name
    roles: Annotated[tuple[_RoleWord, ...], Meta(min_length=1, description='a list such as ["user"]')]
    tokens: Annotated[tuple[_TokenEntry, ...], Meta(description='a list such as [{ sha256 = "64 hex digits" }]')] = ()
    models: (
        Annotated[tuple[_Model, ...], Meta(min_length=1, description="a list of models; without the key, all")] | None
    ) = None
    requests_per_second: _Rate | None = None
    burst: _Count | None = None
    max_in_flight: _Count | None = None
    tokens_per_minute: _Tokens | None = None
    certificate: _Certificate | None = None

    def client(self) -> Client:
        return Client(
            name=self.name,
            roles=frozenset(Role[word.upper()] for word in self.roles),
            tokens=tuple(Token(bytes.fromhex(token.sha256), token.expires) for token in self.tokens),
            models=self.models,
            requests_per_second=self.requests_per_second,
            burst=self.burst,
            max_in_flight=self.max_in_flight,
            tokens_per_minute=self.tokens_per_minute,
            certificate=self.certificate,
        )


class _ClientsFile(msgspec.Struct, frozen=True, kw_only=True):
    client: Annotated[tuple[_ClientEntry, ...], Meta(description="[[client]] entries")] = ()


def parse_clients(text: str, source: str) -> ClientDirectory:
    """Read the TOML text of a clients file. A text without clients is an empty directory.

    :param source: what an error calls the text, such as its path.
    :raises ClientsError: for anything that is not as documented, unknown keys included.
    """
    try:
        file = toml.read(text, _ClientsFile, source, Path())
    except ConfigError as error:
        raise ClientsError(source, error.key_path, error.expected.partition(", got ")[0]) from None
    clients = [entry.client() for entry in file.client]
    taken = _Taken(source)
    for at, client in enumerate(clients):
        taken.add(client, f"client[{at}]")
        if not client.tokens and client.certificate is None:
            raise ClientsError(source, f"client[{at}].tokens", "at least one token, or a certificate")
    taken.refuse_guessable()
    return ClientDirectory(clients)


_T = TypeVar("_T")


class _Taken:
    """What only one client may have, and where it was seen first."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._names: dict[str, str] = {}
        self._digests: dict[bytes, str] = {}
        self._certificates: dict[str, str] = {}

    def add(self, client: Client, path: str) -> None:
        self._take(self._names, client.name, f"{path}.name", "a name of its own")
        for at, token in enumerate(client.tokens):
            self._take(self._digests, token.sha256, f"{path}.tokens[{at}].sha256", "a token of its own")
        if client.certificate is not None:
            path = f"{path}.certificate"
            self._take(self._certificates, _canonical(client.certificate), path, "a certificate of its own")

    def _take(self, seen: dict[_T, str], value: _T, path: str, expected: str) -> None:
        if value in seen:
            raise ClientsError(self._source, path, f"{expected}, but {seen[value]} is the same")
        seen[value] = path

    def refuse_guessable(self) -> None:
        """A digest cannot be reversed, but what everybody would try first can be tried here as well."""
        for guess in itertools.chain(_guesses(), self._names):
            path = self._digests.get(hashlib.sha256(guess.encode()).digest())
            if path is not None:
                expected = "a token nobody can guess; make one: hadesgw token new NAME"
                raise ClientsError(self._source, path, expected)


_WELL_KNOWN = (
    "abc123 access admin administrator anonymous anything api-key api_key apikey bearer changeit "
    "changeme change-me change_me codex default demo dummy empty example fake foo foobar guest hades "
    "hades-gateway hadesgw hadesgw-token hello hgw hgw_ hunter2 key letmein lm-studio local localhost "
    "master master-key model my-key my-secret my-token mykey mysecret mytoken no-key no-key-required "
    "none not-needed nothing null ollama openai openai-api-key p@ssw0rd pass passw0rd password "
    "password1 password123 placeholder private qwerty replace-me replaceme root sample secret "
    "secret-key secretkey sk- sk-1234 sk-12345 sk-123456 sk-dummy sk-fake sk-local sk-no-key-required "
    "sk-none sk-placeholder sk-secret sk-test sk-xxx sk-xxxx system test test-key test-token test123 "
    "testing testkey testtoken todo token token-abc123 token123 true undefined unused user username "
    "vllm welcome xxx xxxx xxxxx xxxxxxxx your-api-key your-key your-token your_api_key yourkey"
).split()


def _guesses() -> Iterator[str]:
    """Refused tokens: up to two printable characters, up to four digits, and well-known ones."""
    printable = [chr(code) for code in range(0x20, 0x7F)]
    for length in range(3):
        yield from map("".join, itertools.product(printable, repeat=length))
    for length in (3, 4):
        yield from map("".join, itertools.product("0123456789", repeat=length))
    for length in range(5, 21):
        yield ("1234567890" * 2)[:length]
    for word in _WELL_KNOWN:
        yield from (word, word.upper(), word.capitalize())
