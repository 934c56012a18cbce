"""The `hadesgw` command: what an operator does beside serving, each a thin call into another module.

Serving itself is Twisted's: `twistd --nodaemon --pidfile= hadesgw --config FILE`.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import msgspec
import twisted

from hadesgw import __version__
from hadesgw.policy import clients_file
from hadesgw.policy.credentials import (
    ClientsError,
    Role,
    entry,
    mint_token,
    read_clients,
    token_entry,
)
from hadesgw.policy.toml import ConfigError

if TYPE_CHECKING:  # most commands do without
    from hadesgw.config import Config

CLIENTS_FILE = "clients.toml"
"""The clients file when none is named: the configuration's own default."""

_RELOAD = "A running gateway notices when it is reloaded or restarted."


class Refused(Exception):
    """The command was understood and cannot be carried out; the text says why."""


class Surroundings(msgspec.Struct, frozen=True, kw_only=True):
    """What the commands use of the world around them.

    :ivar now: the time, with its time zone.
    :ivar entropy: returns that many random bytes.
    :ivar environ: the environment variables.
    :ivar check: judges the configuration at that path (None: the built-in one), and the gateway with that process
        id that runs with it, if one is given; answers the line that says it is good, or raises :class:`Refused`.
    :ivar execute: becomes another program: its path and its arguments, the program's name first.
    :ivar call: runs another program to its end, for all to see, and answers its exit status.
    """

    now: Callable[[], datetime]
    entropy: Callable[[int], bytes]
    environ: Mapping[str, str]
    check: Callable[[str | None, int | None], str]
    execute: Callable[[str, list[str]], object]
    call: Callable[[Sequence[str]], int]


def main() -> int:
    """Entry point of the console script; answers its exit code."""
    try:
        code = run(
            sys.argv[1:],
            Surroundings(
                now=lambda: datetime.now(UTC),
                entropy=os.urandom,
                environ=os.environ,
                check=_check,
                execute=os.execv,
                call=subprocess.call,
            ),
        )
        sys.stdout.flush()
    except BrokenPipeError:  # whoever read our output has seen enough; Python must not try to flush it again
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return code


def run(arguments: Sequence[str], surroundings: Surroundings) -> int:
    """Carry out one command line.

    :param arguments: without the program's name.
    :returns: 0 when done, 1 when it could not be, 2 when the command line was wrong.
    """
    try:
        options = _parser(surroundings).parse_args(arguments)
        options.command(options, surroundings)
    except SystemExit as finished:  # after --help and --version, which argparse answers itself
        return int(finished.code or 0)
    except _CommandLineError as error:
        return _fail(error, 2)
    except BrokenPipeError:
        raise
    except OSError as error:
        return _fail(f"{error.filename}: {error.strerror}" if error.filename else error, 1)
    except (ClientsError, Refused) as error:
        return _fail(error, 1)
    return 0


def _fail(reason: object, code: int) -> int:
    print("hadesgw:", " ".join(str(reason).split()), file=sys.stderr)
    return code


def _check(path: str | None, pid: int | None) -> str:
    from hadesgw.service.start import StartRefused, check  # imports the whole tree, which no other command needs

    try:
        return check(path, pid)
    except (ConfigError, StartRefused) as error:
        raise Refused(str(error)) from None


# -- The command line ----------------------------------------------------------------------------------------


class _CommandLineError(Exception):
    """The command line cannot be understood."""


class _Parser(argparse.ArgumentParser):
    """Tells an error in one line instead of the whole usage."""

    def error(self, message: str) -> NoReturn:
        raise _CommandLineError(f"{message} (see: {self.prog} --help)")


_EPILOG = """\
examples:
  hadesgw token new alice --append           make a client: prints its token once, keeps the digest
  hadesgw token new alice --rotate           a further token, to take the old one's place
  hadesgw token list                         who may come in, and until when
  hadesgw token revoke alice                 put a client out
  hadesgw check --config hadesgw.toml        would the gateway start with this configuration?
  hadesgw check --pid 4711                   does that gateway listen as configured, and nowhere else?
  hadesgw doctor --config hadesgw.toml       look at all a gateway depends on, and say what to do
  hadesgw engine install aider               install the coding agent Aider, for coding sessions
  hadesgw status                             where the gateway on this machine listens, since when
  hadesgw reload                             have it take up changed clients and certificates
  hadesgw tail --client alice --status 4xx   follow requests while they run
  hadesgw cert --self-signed --name myhost   a certificate to try TLS with
  hadesgw demo                               try it all without a model server
  hadesgw version                            what to name in a report

to serve:
  twistd --nodaemon --pidfile= hadesgw --config hadesgw.toml
"""


def _parser(surroundings: Surroundings) -> _Parser:
    parser = _Parser(
        prog="hadesgw",
        description="The front door of a vLLM server that listens only on a UNIX socket.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=_version())
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    token = _command(commands, "token", "make, list and revoke the tokens of clients")
    tokens = token.add_subparsers(metavar="ACTION", required=True)
    _add_token_new(_command(tokens, "new", "make a token; it is shown once"), surroundings.now)
    _add_token_list(_command(tokens, "list", "show clients and digests, never tokens"))
    _add_token_revoke(_command(tokens, "revoke", "take a client, or one of its tokens, out of the clients file"))

    check = _command(commands, "check", "judge a configuration without serving")
    check.add_argument("--config", metavar="FILE", help="the configuration; without it, the built-in one")
    check.add_argument(
        "--pid",
        metavar="PID",
        type=_pid,
        help="a gateway that runs with it: see that it listens there and nowhere else",
    )
    check.set_defaults(command=_run_check)

    doctor = _command(commands, "doctor", "look at everything a gateway depends on, and say what to do")
    doctor.add_argument("--config", metavar="FILE", help="the configuration; without it, the built-in one")
    doctor.add_argument("--json", action="store_true", help="a JSON object for each finding")
    doctor.set_defaults(command=_run_doctor)

    engine = _command(commands, "engine", "see and install what does the work in coding sessions")
    engines = engine.add_subparsers(metavar="ACTION", required=True)
    _add_engine(engines, "list", "show which engines are ready, and what to do for the others", _run_engine_list)
    installing = _add_engine(engines, "install", "install an engine for the gateway to use", _run_engine_install)
    installing.add_argument("name", metavar="NAME", choices=("codex", "aider"), help="codex or aider")

    for name, summary in (
        ("status", "show how the gateway that runs on this machine is"),
        ("reload", "have the running gateway take up its clients and certificates anew"),
    ):
        asking = _command(commands, name, summary)
        _add_control(asking)
        asking.set_defaults(command=_run_ask, wanted=name)
    _add_tail(_command(commands, "tail", "follow the running gateway's requests as they run"))

    _add_cert(_command(commands, "cert", "make a certificate for the gateway"))

    demo = _command(commands, "demo", "serve with a rehearsal model, a new client and the curl line to try")
    model = demo.add_mutually_exclusive_group()
    model.add_argument("--script", metavar="FILE", help="what the rehearsal model answers")
    model.add_argument("--gguf", metavar="FILE", help="a real small model in its place (extra: local)")
    demo.add_argument("--config", metavar="FILE", help="the configuration to rehearse")
    demo.set_defaults(command=_run_demo)

    version = _command(commands, "version", "show the version")
    version.set_defaults(command=lambda options, surroundings: print(_version()))
    return parser


def _command(commands: argparse._SubParsersAction[_Parser], name: str, summary: str) -> _Parser:
    return commands.add_parser(
        name, help=summary, description=f"{summary[0].upper()}{summary[1:]}.", allow_abbrev=False
    )


def _version() -> str:
    return f"hadesgw {__version__} (Twisted {twisted.__version__}, Python {platform.python_version()})"


# -- check, demo ---------------------------------------------------------------------------------------------


def _pid(text: str) -> int:
    if not re.fullmatch(r"[1-9][0-9]{0,9}", text):
        raise argparse.ArgumentTypeError("expected the id of a process")
    return int(text)


def _run_check(options: argparse.Namespace, surroundings: Surroundings) -> None:
    print(surroundings.check(options.config, options.pid))


# The `twistd` beside another Python, or none at all, may come first in $PATH: this one is ours.
_TWISTD = "import sys; sys.argv[0] = 'twistd'; from twisted.scripts.twistd import run; run()"


def _run_demo(options: argparse.Namespace, surroundings: Surroundings) -> None:
    command = [sys.executable, "-c", _TWISTD, "--nodaemon", "--pidfile=", "hadesgw", "--demo"]
    for option in ("script", "gguf", "config"):
        value = getattr(options, option)
        if value is not None:
            command.append(f"--{option}={value}")
    sys.stdout.flush()
    surroundings.execute(sys.executable, command)


# -- engine ----------------------------------------------------------------------------------------------------


def _add_engine(
    engines: argparse._SubParsersAction[_Parser],
    name: str,
    summary: str,
    command: Callable[[argparse.Namespace, Surroundings], None],
) -> _Parser:
    parser = _command(engines, name, summary)
    parser.add_argument("--config", metavar="FILE", help="the configuration; without it, the built-in one")
    parser.set_defaults(command=command)
    return parser


def _run_engine_list(options: argparse.Namespace, surroundings: Surroundings) -> None:
    from hadesgw.service.engines import ENGINES

    config = _load(options.config)
    for name, obstacle in ENGINES.items():
        mark = "*" if name == config.sessions.engine else " "
        print(f"{mark} {name:<10} {obstacle(config, surroundings.environ) or 'ready'}")


def _run_engine_install(options: argparse.Namespace, surroundings: Surroundings) -> None:
    from hadesgw.service.engines import install_aider
    from hadesgw.sessions.aider_environment import InstallFailed
    from hadesgw.sessions.codex_program import INSTALL

    if options.name == "codex":
        raise Refused(f"Codex is an extra of this package; run: {INSTALL}")
    try:
        folder = install_aider(_load(options.config), surroundings.environ, surroundings.call)
    except InstallFailed as failed:
        raise Refused(str(failed)) from None
    print(f'Aider is installed in {folder}. To use it: engine = "aider" in [sessions].')


def _load(path: str | None) -> Config:
    from hadesgw.config import load

    try:
        return load(path)
    except ConfigError as error:
        raise Refused(str(error)) from None


# -- doctor ----------------------------------------------------------------------------------------------------


def _run_doctor(options: argparse.Namespace, surroundings: Surroundings) -> None:
    from hadesgw.service.doctor import Patient, examine
    from hadesgw.service.engines import ENGINES
    from hadesgw.service.tail import plain

    patient = Patient(path=options.config, environ=surroundings.environ, now=surroundings.now(), engines=ENGINES)
    signs = {"good": "ok", "warning": "!!", "bad": "XX"}
    bad = 0
    for finding in examine(patient):
        bad += finding.verdict == "bad"
        if options.json:
            print(msgspec.json.encode(finding).decode(), flush=True)
            continue
        print(plain(f"{signs[finding.verdict]}  {finding.subject}: {finding.told}"), flush=True)
        if finding.remedy:
            print(plain(f"    -> {finding.remedy}"), flush=True)
    if bad:
        raise Refused(f"{bad} finding{'s' if bad > 1 else ''} would keep a gateway from serving")


# -- status, reload, tail --------------------------------------------------------------------------------------


def _add_control(parser: _Parser) -> None:
    """Where the gateway is that is asked."""
    place = parser.add_mutually_exclusive_group()
    place.add_argument("--config", metavar="FILE", help="the configuration it runs with")
    place.add_argument("--socket", metavar="PATH", help="its control socket (default: the usual place)")


def _control_socket(options: argparse.Namespace, surroundings: Surroundings) -> str:
    from hadesgw.config import load
    from hadesgw.service.control import control_path

    if options.socket is not None:
        return str(options.socket)
    try:
        configured = "" if options.config is None else load(options.config).server.control
    except ConfigError as error:
        raise Refused(str(error)) from None
    return control_path(configured, surroundings.environ)


def _run_ask(options: argparse.Namespace, surroundings: Surroundings) -> None:
    from hadesgw.service.control import ControlRefused, ask

    try:
        answer = ask(_control_socket(options, surroundings), options.wanted)
    except ControlRefused as refused:
        raise Refused(str(refused)) from None
    for name, value in answer.items():
        told = ", ".join(map(str, value)) or "nothing" if isinstance(value, list) else json.dumps(value).strip('"')
        print(f"{name.replace('_', ' ')}: {told}")


def _add_tail(parser: _Parser) -> None:
    _add_control(parser)
    parser.add_argument("--id", metavar="PREFIX", help="only requests whose own or session's id begins so")
    parser.add_argument("--client", metavar="NAME", help="only this client's")
    parser.add_argument("--status", metavar="STATUS", type=_status, help="only those that end so: 429, or 5xx for all")
    parser.add_argument("--json", action="store_true", help="a JSON object a line, as they come from the gateway")
    parser.set_defaults(command=_run_tail)


def _status(text: str) -> str:
    if not re.fullmatch(r"[1-5][0-9x]{2}", text):
        raise argparse.ArgumentTypeError("expected a status such as 429, or a class of them such as 5xx")
    return text


def _run_tail(options: argparse.Namespace, surroundings: Surroundings) -> None:
    from hadesgw.service.control import ControlRefused, follow
    from hadesgw.service.tail import Rows, Selection, as_json

    selection = Selection(id=options.id, client=options.client, status=options.status)
    rows = Rows(colour=sys.stdout.isatty() and "NO_COLOR" not in surroundings.environ)
    try:
        for news in follow(_control_socket(options, surroundings)):
            if selection.takes(news):
                clock = surroundings.now().astimezone().strftime("%H:%M:%S.%f")[:-3]
                print(as_json(news) if options.json else rows.row(clock, news), flush=True)
    except ControlRefused as refused:
        raise Refused(str(refused)) from None
    except KeyboardInterrupt:
        return
    print("the gateway has stopped", file=sys.stderr)


# -- cert ----------------------------------------------------------------------------------------------------


def _add_cert(parser: _Parser) -> None:
    parser.add_argument(
        "--self-signed",
        action="store_true",
        required=True,
        help="it vouches for itself: clients must be told to trust it",
    )
    parser.add_argument(
        "--name",
        metavar="NAME",
        action="append",
        required=True,
        type=_certificate_name,
        help="a host name or address that clients use; may be given again",
    )
    parser.add_argument(
        "--days", metavar="N", type=_days, default=365, help="how long it counts, up to 3650 (default: %(default)s)"
    )
    parser.add_argument(
        "--out", metavar="DIR", default=".", help="the folder of tls.pem and tls.key (default: this one)"
    )
    parser.set_defaults(command=_run_cert)


def _certificate_name(text: str) -> str:
    from hadesgw.policy.certificates import CertificateError, require_name  # the libraries of TLS take their time

    try:
        return require_name(text)
    except CertificateError as error:
        raise argparse.ArgumentTypeError(f"expected {error}") from None


def _days(text: str) -> int:
    if not re.fullmatch(r"[1-9][0-9]{0,3}", text) or int(text) > 3650:
        raise argparse.ArgumentTypeError("expected a number of days from 1 to 3650")
    return int(text)


def _run_cert(options: argparse.Namespace, surroundings: Surroundings) -> None:
    from hadesgw.policy.certificates import self_sign

    folder = Path(options.out).absolute()
    certificate, key = folder / "tls.pem", folder / "tls.key"
    for path in (certificate, key):
        if os.path.lexists(path):
            raise Refused(f"{path} is there already; move it away, or name another folder with --out")
    serial = int.from_bytes(surroundings.entropy(20)) >> 1  # RFC 5280 4.1.2.2: positive, and no longer
    made = self_sign(options.name, surroundings.now(), options.days, lambda: serial)
    _write_new(key, made.key, 0o600)
    _write_new(certificate, made.certificate, 0o644)
    print(
        f"A certificate for {', '.join(options.name)} that counts until {_told(made.expires, surroundings.now())}.\n\n"
        f"[tls]\ncertificate = {json.dumps(str(certificate))}\nprivate_key = {json.dumps(str(key))}\n\n"
        f"Its SHA-256 fingerprint is {made.fingerprint}.\n"
        f"Clients trust it once they are told to, such as: curl --cacert {shlex.quote(str(certificate))} https://..."
    )


def _write_new(path: Path, content: bytes, mode: int) -> None:
    """Write a file that must not be there yet, never readable to more than it will be."""
    with open(path, "xb", opener=lambda name, flags: os.open(name, flags, mode)) as file:
        file.write(content)


# -- token ---------------------------------------------------------------------------------------------------


def _add_token_new(parser: _Parser, now: Callable[[], datetime]) -> None:
    parser.add_argument("name", metavar="NAME", type=_name, help="the client's name, as metrics and logs will show it")
    parser.add_argument(
        "--role",
        choices=[role.word for role in Role],
        help="what it may do: observer < user < admin (default: user)",
    )
    parser.add_argument(
        "--expires",
        metavar="DATE",
        type=lambda text: _expiry(text, now()),
        help="2027-01-01, 2027-01-01T12:00:00Z or 90d (default: never)",
    )
    _add_file(parser)
    into = parser.add_mutually_exclusive_group()
    into.add_argument("--append", action="store_true", help="write the new client into the file, made if missing")
    into.add_argument("--rotate", action="store_true", help="give a client of the file a further token")
    parser.set_defaults(command=_run_token_new)


def _add_token_list(parser: _Parser) -> None:
    _add_file(parser)
    parser.set_defaults(command=_run_token_list)


def _add_token_revoke(parser: _Parser) -> None:
    parser.add_argument("name", metavar="NAME", type=_name, help="the client")
    parser.add_argument(
        "--digest",
        metavar="PREFIX",
        type=_hexadecimal,
        help="only the token whose digest begins so (see: token list)",
    )
    _add_file(parser)
    parser.set_defaults(command=_run_token_revoke)


def _add_file(parser: _Parser) -> None:
    parser.add_argument("--file", metavar="FILE", default=CLIENTS_FILE, help="the clients file (default: %(default)s)")


def _name(text: str) -> str:
    # What is refused is not repeated: it may be a token in the wrong place.
    try:
        entry(text, "", (Role.USER,), None)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return text


def _hexadecimal(text: str) -> str:
    if not re.fullmatch(r"[0-9A-Fa-f]{1,64}", text):
        raise argparse.ArgumentTypeError(
            "expected the first hex digits of a digest, as `hadesgw token list` shows them"
        )
    return text.lower()


def _expiry(text: str, now: datetime) -> datetime:
    wrong = argparse.ArgumentTypeError("expected a moment to come, such as 2027-01-01, 2027-01-01T12:00:00Z or 90d")
    try:
        moment = _moment(text, now)
    except (ValueError, OverflowError):
        raise wrong from None
    if moment <= now:
        raise wrong
    return moment


def _moment(text: str, now: datetime) -> datetime:
    if days := re.fullmatch(r"([0-9]{1,5})d", text):
        return now + timedelta(days=int(days[1]))
    if re.fullmatch(r"[0-9-]{10}", text):
        text += "T00:00:00Z"
    moment = datetime.fromisoformat(text)
    if moment.utcoffset() is None:
        raise ValueError("no time zone")
    return moment.astimezone(UTC)


def _run_token_new(options: argparse.Namespace, surroundings: Surroundings) -> None:
    token = mint_token(surroundings.entropy)
    if options.rotate:
        after = _rotate(options, token)
    else:
        after = _introduce(options, token)
    print(f"The token of {options.name}, shown only now:\n\n{token}\n\n{after}")


def _rotate(options: argparse.Namespace, token: str) -> str:
    if options.role is not None:
        raise _CommandLineError("--rotate keeps the client's roles: leave --role out")
    item = token_entry(token, options.expires)
    clients_file.change(
        options.file,
        lambda text: clients_file.with_token(text, options.file, options.name, item),
        create=False,
    )
    return f"Its digest is in {options.file}, beside the older ones. {_RELOAD}"


def _introduce(options: argparse.Namespace, token: str) -> str:
    toml = entry(options.name, token, (Role[(options.role or "user").upper()],), options.expires)
    if not options.append:
        return f"Paste this into the clients file; it holds the digest only:\n\n{toml.rstrip()}"
    clients_file.change(options.file, lambda text: clients_file.with_client(text, options.file, toml), create=True)
    return f"Its digest is in {options.file}. {_RELOAD}"


def _run_token_list(options: argparse.Namespace, surroundings: Surroundings) -> None:
    now = surroundings.now()
    directory = read_clients(options.file, surroundings.environ.get("CREDENTIALS_DIRECTORY"))
    rows = [("NAME", "ROLES", "DIGEST", "EXPIRES")]
    for client in directory.clients:
        roles = ",".join(role.word for role in sorted(client.roles))
        rows += [(client.name, roles, token.sha256.hex()[:8], _told(token.expires, now)) for token in client.tokens]
        if client.certificate is not None:
            rows.append((client.name, roles, "-", "with its certificate"))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _told(expires: datetime | None, now: datetime) -> str:
    if expires is None:
        return "never"
    return (
        f"{'expired ' if expires <= now else ''}{expires.isoformat(sep=' ', timespec='seconds').replace('+00:00', 'Z')}"
    )


def _run_token_revoke(options: argparse.Namespace, surroundings: Surroundings) -> None:
    clients_file.change(
        options.file,
        lambda text: clients_file.without(text, options.file, options.name, options.digest),
        create=False,
    )
    what = options.name if options.digest is None else f"the token {options.digest}... of {options.name}"
    print(f"Revoked {what}. {_RELOAD}")


if __name__ == "__main__":
    sys.exit(main())
