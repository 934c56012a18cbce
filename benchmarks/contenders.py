"""Who is measured: each is a front door on a TCP port of loopback, with the same backend socket behind it.

All are set up as their own documentation would for this work: no buffering of answers, no access log,
connections kept on both sides, one worker. hadesgw runs its default tree with its request log and metrics;
only the limits that exist to hold back a load like ours are lifted.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PROJECT = Path(__file__).parent.parent
_MANY = 1_000_000


@dataclass(frozen=True)
class Place:
    """Where a contender stands."""

    folder: Path
    """Its own, empty, for whatever it writes."""
    backend: Path
    port: int
    token: str

    def write(self, name: str, text: str, mode: int = 0o600) -> Path:
        path = self.folder / name
        path.touch(mode=mode)
        path.write_text(text)
        return path


def _first_line(*command: str) -> str:
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=30)
    return (done.stdout or done.stderr).partition("\n")[0].strip()


class Contender(ABC):
    """One kind of door."""

    name: str

    @abstractmethod
    def absence(self) -> str:
        """Why it cannot be measured here; empty when it can."""

    @abstractmethod
    def version(self) -> str:
        """What exactly was measured."""

    @abstractmethod
    def command(self, place: Place) -> list[str]:
        """Write the configuration into `place` and tell how to start it in the foreground."""

    def environment(self, place: Place) -> Mapping[str, str]:
        """Of the process."""
        return os.environ


class _Packaged(Contender):
    """A program that the system's packages install."""

    program: str
    version_option: str

    def absence(self) -> str:
        return "" if shutil.which(self.program) else f"{self.program} is not installed"

    def version(self) -> str:
        return _first_line(self.program, self.version_option)


class Nginx(_Packaged):
    """The anchor."""

    name = program = "nginx"
    version_option = "-v"

    def command(self, place: Place) -> list[str]:
        # The worker of a root master changes to another user, who may not enter a private folder.
        user = "user root;" if os.geteuid() == 0 else ""
        scratch = "\n".join(
            f"  {kind}_temp_path {place.folder}/{kind};"
            for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        configuration = place.write(
            "nginx.conf",
            f"""\
{user}
daemon off;
worker_processes 1;
pid {place.folder}/nginx.pid;
error_log {place.folder}/error.log error;
events {{ worker_connections 8192; }}
http {{
{scratch}
  access_log off;
  client_max_body_size 16m;
  client_body_buffer_size 1m;
  keepalive_requests {_MANY * 1000};
  upstream backend {{
    server unix:{place.backend};
    keepalive 256;
    keepalive_requests {_MANY * 1000};
  }}
  server {{
    listen 127.0.0.1:{place.port} backlog=4096;
    location / {{
      proxy_pass http://backend;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_buffering off;
      proxy_read_timeout 300s;
    }}
  }}
}}
""",
        )
        return [
            "nginx",
            "-e",
            str(place.folder / "error.log"),
            "-p",
            str(place.folder),
            "-c",
            str(configuration),
        ]


class RawTwisted(Contender):
    """The yardstick: what this machine asks of a Twisted process that hands bytes on and does nothing else."""

    name = "raw Twisted"

    def absence(self) -> str:
        return ""

    def version(self) -> str:
        return f"twisted {version('twisted')}"

    def command(self, place: Place) -> list[str]:
        return [sys.executable, "-m", "benchmarks.raw_twisted", str(place.port), str(place.backend)]

    def environment(self, place: Place) -> Mapping[str, str]:
        """With the checkout on the path."""
        return os.environ | {"PYTHONPATH": str(PROJECT)}


class Hadesgw(Contender):
    """This project, from this checkout, by the interpreter that runs the benchmark."""

    name = "hadesgw"
    tree = ""
    """Of the configuration, as TOML; empty for the default one."""

    def _twistd(self) -> str | None:
        return shutil.which("twistd", path=str(Path(sys.executable).parent)) or shutil.which("twistd")

    def absence(self) -> str:
        if not (PROJECT / "twisted" / "plugins" / "hadesgw_plugin.py").exists():
            return "twistd does not know hadesgw here"
        return "" if self._twistd() else "twistd is not installed"

    def version(self) -> str:
        parts = []
        for package in ("hadesgw", "twisted", "httptools", "msgspec"):
            try:
                parts.append(f"{package} {version(package)}")
            except PackageNotFoundError:
                parts.append(f"{package} from the checkout" if package == "hadesgw" else f"{package} absent")
        return ", ".join(parts)

    def command(self, place: Place) -> list[str]:
        digest = hashlib.sha256(place.token.encode()).hexdigest()
        place.write(
            "clients.toml",
            f'[[client]]\nname = "benchmark"\ntokens = [{{ sha256 = "{digest}" }}]\nroles = ["user"]\n',
        )
        configuration = place.write(
            "hadesgw.toml",
            f"""\
[server]
listen = ["tcp:{place.port}:interface=127.0.0.1"]
control = "control.sock"

[[upstream]]
name = "bench"
socket = "{place.backend}"
models = ["bench"]
max_in_flight = {_MANY}

[clients]
file = "clients.toml"

[limits]
requests_per_second = {_MANY}
burst = {_MANY}
max_in_flight = {_MANY}
queue = {_MANY}

[limits.body]
default = "16MiB"
memory = "1GiB"

[budget]
context_tokens = 100000000
output_tokens = 50000000

[timeouts]
first_byte = 300
idle = 300
{self.tree}""",
        )
        return [self._twistd() or "twistd", "-n", "--pidfile=", "hadesgw", "--config", str(configuration)]

    def environment(self, place: Place) -> Mapping[str, str]:
        """With the checkout on the path, and byte code kept as an installation keeps it."""
        known = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        path = os.pathsep.join(filter(None, (str(PROJECT), os.environ.get("PYTHONPATH"))))
        return known | {"PYTHONPATH": path}


class Haproxy(_Packaged):
    """A peer, told to send each piece at once: by default it may hold a first token back for 200 ms."""

    name = program = "haproxy"
    version_option = "-v"

    def command(self, place: Place) -> list[str]:
        configuration = place.write(
            "haproxy.cfg",
            f"""\
global
  maxconn 8192
  nbthread 1
defaults
  mode http
  option http-no-delay
  option abortonclose
  timeout connect 5s
  timeout client 300s
  timeout server 300s
frontend door
  bind 127.0.0.1:{place.port} backlog 4096
  default_backend model
backend model
  http-reuse always
  server model unix@{place.backend} pool-max-conn 256
""",
        )
        return ["haproxy", "-db", "-f", str(configuration)]


class Caddy(_Packaged):
    """A peer in a language with a collector. It flushes event streams unasked; told to, it would miss departures."""

    name = program = "caddy"
    version_option = "version"

    def command(self, place: Place) -> list[str]:
        configuration = place.write(
            "Caddyfile",
            f"""\
{{
  admin off
  auto_https off
}}
http://127.0.0.1:{place.port} {{
  reverse_proxy unix/{place.backend} {{
    transport http {{
      keepalive_idle_conns_per_host 256
    }}
  }}
}}
""",
        )
        return ["caddy", "run", "--adapter", "caddyfile", "--config", str(configuration)]

    def environment(self, place: Place) -> Mapping[str, str]:
        """With a home of its own: it keeps state."""
        return {
            **os.environ,
            "HOME": str(place.folder),
            "XDG_CONFIG_HOME": str(place.folder),
            "XDG_DATA_HOME": str(place.folder),
        }


def all_contenders() -> tuple[Contender, ...]:
    """The ones of every run, then the optional peers."""
    return Nginx(), RawTwisted(), Hadesgw(), Haproxy(), Caddy()
