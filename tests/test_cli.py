"""The `hadesgw` command: what it prints, what it leaves in files, how it ends."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from twisted.trial.unittest import SynchronousTestCase

from hadesgw import __version__
from hadesgw.cli import Refused, Surroundings, run
from hadesgw.policy.certificates import read_chain, read_identity
from hadesgw.policy.credentials import Admitted, Role, parse_authorization, parse_clients, read_clients

NOW = datetime(2026, 6, 1, 12, 0, 0, 999, tzinfo=UTC)
TOKEN = re.compile(r"^(hgw_[A-Za-z0-9_-]{43})$", re.MULTILINE)


class Outcome(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def token(self) -> str:
        """The token it showed."""
        (token,) = TOKEN.findall(self.out)
        return str(token)


def judge(path: str | None, pid: int | None) -> str:
    """Finds every configuration good but that one."""
    if path == "bad.toml":
        raise Refused("bad.toml: server: expected better")
    return f"{path} is good" if pid is None else f"{path} is what {pid} does"


class CommandTests(SynchronousTestCase):
    """What each of these tests calls is a whole command line."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        self.file = self.folder / "clients.toml"
        self.executed: list[tuple[str, list[str]]] = []
        self.environ: dict[str, str] = {}
        self.drawn = 0
        self.called: list[Sequence[str]] = []
        self.status = 0

    def entropy(self, count: int) -> bytes:
        """Bytes that differ from call to call."""
        self.drawn += 1
        return hashlib.sha256(b"%d" % self.drawn).digest()[:count]

    def call(self, command: Sequence[str]) -> int:
        """A program that ends at once."""
        self.called.append(command)
        return self.status

    def run_command(self, *arguments: str) -> Outcome:
        """Run a command line and catch what it prints."""
        surroundings = Surroundings(
            now=lambda: NOW,
            entropy=self.entropy,
            environ=self.environ,
            check=judge,
            execute=lambda path, command: self.executed.append((path, command)),
            call=self.call,
        )
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = run(arguments, surroundings)
        return Outcome(code, out.getvalue(), err.getvalue())

    def good(self, *arguments: str) -> Outcome:
        """Run what succeeds, and says nothing on stderr."""
        outcome = self.run_command(*arguments)
        self.assertEqual((outcome.code, outcome.err), (0, ""))
        return outcome

    def bad(self, code: int, expected: str, *arguments: str) -> Outcome:
        """Run what fails: one line on stderr, nothing on stdout."""
        outcome = self.run_command(*arguments)
        self.assertEqual((outcome.code, outcome.out), (code, ""), outcome.err)
        self.assertEqual(outcome.err.count("\n"), 1, outcome.err)
        self.assertTrue(outcome.err.startswith("hadesgw: "))
        self.assertIn(expected, outcome.err)
        return outcome

    def add(self, name: str, *arguments: str) -> Outcome:
        """Append a client to the file."""
        return self.good("token", "new", name, "--append", "--file", str(self.file), *arguments)

    def admitted(self, token: str) -> str | None:
        """The client whom the file admits by that token."""
        credential = parse_authorization((b"Bearer " + token.encode(),), ())
        verdict = read_clients(str(self.file), None).identify(credential, NOW)
        return verdict.client.name if isinstance(verdict, Admitted) else None


class NewTests(CommandTests):
    """`hadesgw token new`."""

    def test_a_token_and_its_entry_are_printed(self) -> None:
        """The entry can be pasted and admits the token; no file is touched."""
        outcome = self.good("token", "new", "alice")
        directory = parse_clients(outcome.out[outcome.out.index("[[client]]") :], "output")
        credential = parse_authorization((b"Bearer " + outcome.token.encode(),), ())
        verdict = directory.identify(credential, NOW)
        assert isinstance(verdict, Admitted)
        self.assertEqual((verdict.client.name, verdict.client.roles), ("alice", {Role.USER}))
        self.assertEqual(list(self.folder.iterdir()), [])

    def test_an_appended_client_is_in_the_file_by_digest_only(self) -> None:
        """The file is made, for its owner alone; the token is printed once and stands nowhere."""
        outcome = self.add("alice", "--role", "admin")
        self.assertEqual(self.admitted(outcome.token), "alice")
        self.assertEqual(self.file.stat().st_mode & 0o777, 0o600)
        self.assertNotIn(outcome.token, self.file.read_text())
        self.assertEqual(outcome.out.count(outcome.token), 1)
        self.assertEqual(read_clients(str(self.file), None).clients[0].roles, {Role.ADMIN})

    def test_every_token_is_another(self) -> None:
        """Two clients in one file, each with its own."""
        alice, bob = self.add("alice"), self.add("bob")
        self.assertEqual((self.admitted(alice.token), self.admitted(bob.token)), ("alice", "bob"))

    def test_a_name_is_not_taken_twice(self) -> None:
        """The old token stays valid, no new one is shown, and the way to rotate is told."""
        first = self.add("alice")
        before = self.file.read_text()
        self.bad(1, "--rotate", "token", "new", "alice", "--append", "--file", str(self.file))
        self.assertEqual(self.file.read_text(), before)
        self.assertEqual(self.admitted(first.token), "alice")

    def test_rotation_makes_both_tokens_valid(self) -> None:
        """Until the old one is revoked."""
        old = self.add("alice", "--role", "admin")
        new = self.good("token", "new", "alice", "--rotate", "--file", str(self.file))
        self.assertEqual((self.admitted(old.token), self.admitted(new.token)), ("alice", "alice"))
        self.assertEqual(read_clients(str(self.file), None).clients[0].roles, {Role.ADMIN})

    def test_rotation_is_for_clients_that_exist(self) -> None:
        """With their own roles, in a file that is there."""
        self.bad(1, "readable file", "token", "new", "alice", "--rotate", "--file", str(self.file))
        self.assertFalse(self.file.exists())
        self.add("alice")
        self.bad(1, "a client named bob", "token", "new", "bob", "--rotate", "--file", str(self.file))
        self.bad(2, "--role", "token", "new", "alice", "--rotate", "--role", "admin", "--file", str(self.file))
        self.bad(2, "not allowed with", "token", "new", "alice", "--rotate", "--append")

    def test_an_expiry_is_a_date_a_moment_or_a_number_of_days(self) -> None:
        """A date is its first moment in UTC."""
        table = {
            "2027-01-01": datetime(2027, 1, 1, tzinfo=UTC),
            "2027-01-01T12:30:00Z": datetime(2027, 1, 1, 12, 30, tzinfo=UTC),
            "2027-01-01T12:30:00+02:00": datetime(2027, 1, 1, 10, 30, tzinfo=UTC),
            "90d": NOW.replace(microsecond=0) + timedelta(days=90),
        }
        for at, (text, expected) in enumerate(table.items()):
            self.add(f"client-{at}", "--expires", text)
            client = read_clients(str(self.file), None).clients[at]
            self.assertEqual(client.tokens[0].expires, expected, text)

    def test_an_expiry_lies_ahead_and_in_a_known_zone(self) -> None:
        """Anything else is a slip of the hand."""
        for text in (
            *("2020-01-01", "2026-06-01T12:00:00Z", "0d", "-1d", "2027-01-01T00:00:00", "2027-13-01", "soon", ""),
            *("99999999d", "99999d" * 2, "9999-12-31T23:59:59-23:59", "2027-1-1", "20270101"),
        ):
            self.bad(2, "a moment to come", "token", "new", "alice", f"--expires={text}")
        self.bad(2, "a moment to come", "token", "new", "alice", "--expires", "99999999d")

    def test_a_name_is_plain(self) -> None:
        """What is refused is not repeated, for it may be a token in the wrong place."""
        for name in ("Alice", "a b", "", "anonymous", "canary!"):
            outcome = self.bad(2, "NAME", "token", "new", name)
            self.assertNotIn("canary", outcome.err)

    def test_a_role_is_one_of_three(self) -> None:
        """The choices are told."""
        self.bad(2, "observer", "token", "new", "alice", "--role", "root")

    def test_a_file_that_cannot_be_written_costs_no_token(self) -> None:
        """The token is shown only after its digest is safe."""
        missing = str(self.folder / "missing" / "clients.toml")
        self.bad(1, "missing: No such file", "token", "new", "alice", "--append", "--file", missing)

    def test_an_exposed_file_is_refused_with_the_cure(self) -> None:
        """As the gateway would refuse it."""
        self.add("alice")
        self.file.chmod(0o644)
        self.bad(1, "chmod 600", "token", "new", "bob", "--append", "--file", str(self.file))
        self.bad(1, "chmod 600", "token", "list", "--file", str(self.file))


class ListTests(CommandTests):
    """`hadesgw token list`."""

    def test_clients_are_listed_without_their_tokens(self) -> None:
        """A row a token: name, roles, eight digits of the digest, expiry; and a row for a certificate."""
        token = self.add("alice", "--role", "admin", "--expires", "2027-01-01").token
        self.good("token", "new", "alice", "--rotate", "--file", str(self.file))
        with self.file.open("a") as file:
            file.write('\n[[client]]\nname = "bob-of-the-third-floor"\nroles = ["user", "observer"]\n')
            file.write('certificate = "CN=bob"\n')
        newer, older = read_clients(str(self.file), None).clients[0].tokens
        outcome = self.good("token", "list", "--file", str(self.file))
        self.assertEqual(
            [re.split(r"  +", line) for line in outcome.out.splitlines()],
            [
                ["NAME", "ROLES", "DIGEST", "EXPIRES"],
                ["alice", "admin", newer.sha256.hex()[:8], "never"],
                ["alice", "admin", older.sha256.hex()[:8], "2027-01-01 00:00:00Z"],
                ["bob-of-the-third-floor", "observer,user", "-", "with its certificate"],
            ],
        )
        self.assertNotIn(token, outcome.out)
        self.assertNotIn(older.sha256.hex(), outcome.out)

    def test_an_expired_token_is_told(self) -> None:
        """From the moment on at which it is refused."""
        digest = hashlib.sha256(b"a long enough token").hexdigest()
        self.file.write_text(
            f'[[client]]\nname = "alice"\nroles = ["user"]\n'
            f'tokens = [{{ sha256 = "{digest}", expires = 2026-06-01T12:00:00Z }}]\n'
        )
        self.file.chmod(0o600)
        self.assertIn("expired 2026-06-01 12:00:00Z", self.good("token", "list", "--file", str(self.file)).out)

    def test_a_systemd_credential_is_listed(self) -> None:
        """Its mode is the directory's matter."""
        self.add("alice")
        self.file.chmod(0o440)
        self.environ["CREDENTIALS_DIRECTORY"] = str(self.folder)
        self.assertIn("alice", self.good("token", "list", "--file", str(self.file)).out)

    def test_a_missing_or_broken_file_is_one_line(self) -> None:
        """It names the file, and the place in it."""
        self.bad(1, "clients.toml: expected a readable file", "token", "list", "--file", str(self.file))
        self.file.write_text("clients = []")
        self.file.chmod(0o600)
        self.bad(1, "clients.toml: clients: expected", "token", "list", "--file", str(self.file))


class RevokeTests(CommandTests):
    """`hadesgw token revoke`."""

    def test_a_client_is_put_out(self) -> None:
        """The others stay."""
        alice, bob = self.add("alice"), self.add("bob")
        outcome = self.good("token", "revoke", "alice", "--file", str(self.file))
        self.assertIn("Revoked alice.", outcome.out)
        self.assertEqual((self.admitted(alice.token), self.admitted(bob.token)), (None, "bob"))

    def test_one_token_is_revoked_by_its_digest(self) -> None:
        """As `token list` shows it, in capitals too."""
        old = self.add("alice")
        new = self.good("token", "new", "alice", "--rotate", "--file", str(self.file))
        prefix = hashlib.sha256(old.token.encode()).hexdigest()[:8].upper()
        self.good("token", "revoke", "alice", "--digest", prefix, "--file", str(self.file))
        self.assertEqual((self.admitted(old.token), self.admitted(new.token)), (None, "alice"))

    def test_what_is_not_there_cannot_be_revoked(self) -> None:
        """The file stays as it was, and is not made."""
        self.bad(1, "readable file", "token", "revoke", "alice", "--file", str(self.file))
        self.add("alice")
        before = self.file.read_text()
        self.bad(1, "a client named bob", "token", "revoke", "bob", "--file", str(self.file))
        self.bad(1, "there are 0", "token", "revoke", "alice", "--digest", "0" * 64, "--file", str(self.file))
        self.assertEqual(self.file.read_text(), before)

    def test_a_digest_is_hex(self) -> None:
        """A token in its place is not repeated."""
        for text in ("", "xyz", "0" * 65, "hgw_canary"):
            outcome = self.bad(2, "hex digits", "token", "revoke", "alice", f"--digest={text}")
            self.assertNotIn("canary", outcome.err)


class CertTests(CommandTests):
    """`hadesgw cert --self-signed`."""

    def make(self, *arguments: str) -> Outcome:
        """Make one in the test's folder."""
        return self.good("cert", "--self-signed", "--out", str(self.folder), *arguments)

    def test_a_certificate_and_its_key_are_written(self) -> None:
        """They fit each other, have the names that were given, and only their owner can read the key."""
        before = os.umask(0)
        self.addCleanup(os.umask, before)
        self.make("--name", "MyHost", "--name", "127.0.0.1", "--days", "30")
        certificate, key = self.folder / "tls.pem", self.folder / "tls.key"
        self.assertEqual((certificate.stat().st_mode & 0o777, key.stat().st_mode & 0o777), (0o644, 0o600))
        chain = read_chain(certificate.read_bytes(), NOW)
        identity = read_identity(chain, key.read_bytes())
        self.assertEqual(identity.expires, NOW.replace(microsecond=0) + timedelta(days=30))
        names = chain[0].extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        self.assertEqual(names.get_values_for_type(x509.DNSName), ["myhost"])
        self.assertGreater(chain[0].serial_number, 0)

    def test_what_is_printed_can_be_pasted(self) -> None:
        """The section of the configuration, absolute; beside it the fingerprint, and never the key."""
        out = self.make("--name", "localhost").out
        section = tomllib.loads(out[out.index("[tls]") : out.index("Its SHA-256")])
        folder = self.folder.absolute()
        expected = {"certificate": str(folder / "tls.pem"), "private_key": str(folder / "tls.key")}
        self.assertEqual(section, {"tls": expected})
        self.assertIn("until 2027-06-01 12:00:00Z", out)
        certificate = x509.load_pem_x509_certificate((folder / "tls.pem").read_bytes())
        self.assertIn(certificate.fingerprint(hashes.SHA256()).hex(":").upper(), out)
        self.assertNotIn("PRIVATE", out)

    def test_nothing_is_overwritten(self) -> None:
        """Neither certificate nor key, nor what a link leads to, be it nothing; and then nothing is written at all."""
        for name in ("tls.pem", "tls.key"):
            (self.folder / name).symlink_to("nowhere")
            arguments = ("cert", "--self-signed", "--name", "localhost", "--out", str(self.folder))
            self.bad(1, f"{name} is there already", *arguments)
            self.assertEqual([path.name for path in self.folder.iterdir()], [name])
            (self.folder / name).unlink()
        self.bad(1, "No such file", "cert", "--self-signed", "--name", "a", "--out", f"{self.folder}/missing")

    def test_what_is_wrong_with_the_line(self) -> None:
        """Names that are none, days that nobody counts, and what has to be said."""
        good = ("cert", "--self-signed", "--name", "localhost")
        self.bad(2, "--self-signed", "cert", "--name", "localhost")
        self.bad(2, "--name", "cert", "--self-signed")
        for name in ("", "a b", "http://localhost", "localhost:8443"):
            self.bad(2, "expected a host name or an IP address", *good, f"--name={name}")
        for days in ("0", "3651", "-1", "x", "1.5"):
            self.bad(2, "a number of days from 1 to 3650", *good, f"--days={days}")


class OtherTests(CommandTests):
    """check, demo, version, and lines nobody understands."""

    def test_what_doctor_tells_cannot_drive_a_terminal(self) -> None:
        """Names that others gave are in it, a model server's for instance: a finding stays one line."""
        told = self.run_command("doctor", "--config", "/nonexistent/\x1b[2J\nok  all: well")
        self.assertEqual(told.code, 1)
        first, remedy = told.out.splitlines()
        self.assertEqual((first[:3], remedy[:7], "\x1b" in told.out), ("XX ", "    -> ", False))

    def test_check_tells_what_was_found(self) -> None:
        """In one line on stdout, for a file or for the defaults."""
        self.assertEqual(self.good("check", "--config", "a.toml").out, "a.toml is good\n")
        self.assertEqual(self.good("check").out, "None is good\n")

    def test_check_may_be_asked_about_a_process(self) -> None:
        """By its id, which is a number."""
        self.assertEqual(self.good("check", "--config", "a.toml", "--pid", "4711").out, "a.toml is what 4711 does\n")
        for wrong in ("0", "-1", "self", "1.5", ""):
            self.bad(2, "the id of a process", "check", f"--pid={wrong}")

    def test_check_fails_with_the_reason(self) -> None:
        """In one line on stderr."""
        outcome = self.bad(1, "", "check", "--config", "bad.toml")
        self.assertEqual(outcome.err, "hadesgw: bad.toml: server: expected better\n")

    def test_demo_becomes_twistd(self) -> None:
        """Of the same Python, in the foreground, without a pid file, with the options passed on."""
        self.good("demo")
        self.good("demo", "--script=-s.toml", "--config", "my file.toml")
        self.good("demo", "--gguf", "a model.gguf")
        serve = ["--nodaemon", "--pidfile=", "hadesgw", "--demo"]
        (first, plain), (second, full), (_, real) = self.executed
        self.assertEqual((first, second), (sys.executable, sys.executable))
        self.assertEqual((plain[0], plain[1], plain[3:]), (sys.executable, "-c", serve))
        self.assertEqual(full[3:], [*serve, "--script=-s.toml", "--config=my file.toml"])
        self.assertEqual(real[3:], [*serve, "--gguf=a model.gguf"])
        self.bad(2, "not allowed with", "demo", "--script", "s.toml", "--gguf", "m.gguf")

    def test_version_names_what_a_report_needs(self) -> None:
        """As a command and as an option."""
        for argument in ("version", "--version"):
            self.assertIn(f"hadesgw {__version__} (Twisted ", self.good(argument).out)

    def test_help_shows_an_example_of_each_command(self) -> None:
        """And how to serve, which is not ours to do."""
        out = self.good("--help").out
        for command in ("token new", "token list", "token revoke", "check", "cert", "demo", "version"):
            self.assertIn(f"  hadesgw {command} ", out)
        self.assertIn("twistd --nodaemon --pidfile= hadesgw --config", out)

    def test_every_command_has_help(self) -> None:
        """On stdout, as a success."""
        for command in ("token", "token new", "token list", "token revoke", "check", "cert", "demo", "version"):
            self.assertIn(f"usage: hadesgw {command}", self.good(*command.split(), "--help").out)

    def test_a_line_nobody_understands_says_where_help_is(self) -> None:
        """In one line, with exit code 2; options are not guessed from their beginnings."""
        self.bad(2, "hadesgw --help", "")
        self.bad(2, "COMMAND (see: hadesgw --help)")
        self.bad(2, "ACTION (see: hadesgw token --help)", "token")
        self.bad(2, "choose from", "tokens")
        self.bad(2, "hadesgw token new --help", "token", "new")
        self.bad(2, "unrecognized", "token", "new", "alice", "--app")
        self.bad(2, "unrecognized", "check", "--conf", "a.toml")


class EngineTests(CommandTests):
    """`hadesgw engine`."""

    def setUp(self) -> None:
        super().setUp()
        self.engine = (self.folder / "aider").absolute()
        self.config = self.folder / "hadesgw.toml"
        self.config.write_text(f"[sessions]\nengine = 'aider'\naider = {{ environment = '{self.engine}' }}\n")

    def test_list(self) -> None:
        """Each engine and what to do for it; the one in use is marked."""
        done = self.run_command("engine", "list", "--config", str(self.config))
        codex, aider, rehearsal = done.out.splitlines()
        self.assertRegex(codex, r"^  codex      \S")
        self.assertRegex(aider, r"^\* aider      .*; run: hadesgw engine install aider$")
        self.assertEqual(rehearsal, "  rehearsal  ready")

    def test_install(self) -> None:
        """Aider, into the folder that is configured."""
        self.environ["PATH"] = str(self.folder.absolute())
        (self.folder / "python3.12").touch(mode=0o755)
        done = self.run_command("engine", "install", "aider", "--config", str(self.config))
        self.assertEqual((done.code, done.err), (0, ""))
        self.assertIn(str(self.engine), done.out)
        self.assertIn(self.called[0][0], (sys.executable, str(self.folder.absolute() / "python3.12")))
        self.assertEqual(len(self.called), 2)

    def test_refusals(self) -> None:
        """One line each: Codex is an extra, a failed program is named, a bad configuration names its key."""
        self.assertIn("pip install", self.run_command("engine", "install", "codex").err)
        self.environ["PATH"] = str(self.folder.absolute())
        (self.folder / "python3.12").touch(mode=0o755)
        self.status = 3
        done = self.run_command("engine", "install", "aider", "--config", str(self.config))
        self.assertEqual((done.code, done.err.count("\n")), (1, 1))
        self.assertIn("exit status 3", done.err)
        self.config.write_text("[sessions]\nengine = 'none'\n")
        self.assertIn("sessions.engine", self.run_command("engine", "list", "--config", str(self.config)).err)


class ProgramTests(SynchronousTestCase):
    """The real program, as a shell starts it."""

    def program(self, *arguments: str, stdout: int = subprocess.PIPE) -> subprocess.CompletedProcess[str]:
        """Run it in a folder of its own."""
        folder = Path(self.mktemp())
        folder.mkdir()
        project = Path(__file__).resolve().parents[1]
        return subprocess.run(
            [sys.executable, "-m", "hadesgw.cli", *arguments],
            stdout=stdout,
            stderr=subprocess.PIPE,
            text=True,
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(project)},
            timeout=60,
            check=False,
        )

    def test_its_tokens_are_random(self) -> None:
        """Two runs never show the same one."""
        tokens = {TOKEN.findall(self.program("token", "new", "alice").stdout)[0] for _ in range(2)}
        self.assertEqual(len(tokens), 2)

    def test_it_judges_the_configuration_as_the_gateway_does(self) -> None:
        """A configuration that is not there is one line on stderr and exit code 1."""
        done = self.program("check", "--config", "missing.toml")
        self.assertEqual((done.returncode, done.stdout), (1, ""))
        self.assertRegex(done.stderr, r"\Ahadesgw: \S*missing\.toml: expected .*\n\Z")

    def test_a_reader_that_leaves_is_no_traceback(self) -> None:
        """As with `hadesgw ... | head -1`."""
        reading, writing = os.pipe()
        os.close(reading)
        try:
            done = self.program("--help", stdout=writing)
            listed = self.program("version", stdout=writing)
        finally:
            os.close(writing)
        self.assertEqual((done.stderr, listed.stderr), ("", ""))
        self.assertEqual(listed.returncode, 1)
