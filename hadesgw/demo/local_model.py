"""``python -m hadesgw.demo.local_model --socket PATH --gguf FILE``: serve a model file on a UNIX socket, by llama.cpp.

Prints READY when it serves. Exits 0 on SIGTERM and SIGINT, and with ``--until-stdin-closes`` also when
whoever started it is gone. llama.cpp comes with the extra ``local``.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import re
import select
import signal
import socket
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final

from hadesgw.demo.leftover import clear

if TYPE_CHECKING:
    import xllamacpp

PACKAGE: Final = "xllamacpp==2026.10.11549"
"""llama.cpp as the extra ``local`` asks for it."""

_MAGIC: Final = b"GGUF"
_SUFFIX: Final = ".sock"  # by which llama.cpp tells a socket from a host name
_SIDE_BY_SIDE: Final = 2  # answers; others wait
_HEALTH_SECONDS: Final = 10.0
_COMPLAINT: Final = re.compile(r"^\S+ E (.+)$", re.M)


def model_name(gguf: Path) -> str:
    """What a model file is served as: its own name, without what would need quoting."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", gguf.stem).strip("-.")[:64] or "local"


def llama_installed() -> bool:
    """Whether the extra is here."""
    return find_spec("xllamacpp") is not None


def refusal(gguf: Path, installed: bool) -> str:
    """Why this file cannot be served here, as one line; empty if nothing is known against it.

    :param installed: whether the extra is here.
    """
    try:
        if not gguf.is_file():
            return f"{gguf}: there is no such file"
        with gguf.open("rb") as file:
            magic = file.read(len(_MAGIC))
    except OSError as error:
        return f"{gguf}: {error.strerror}"
    if magic != _MAGIC:
        return f"{gguf}: this is no GGUF file"
    if not installed:
        return f"llama.cpp, which would serve {gguf}, is not installed: {sys.executable} -m pip install {PACKAGE}"
    return ""


def _options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m hadesgw.demo.local_model", description="Serve a GGUF model file by llama.cpp."
    )
    parser.add_argument(
        "--socket", required=True, type=Path, metavar="PATH", help=f"the UNIX socket to serve on; it ends in {_SUFFIX}"
    )
    parser.add_argument("--gguf", required=True, type=Path, metavar="FILE", help="the model file")
    parser.add_argument("--model", metavar="NAME", help="the name it answers to; default: the file's")
    parser.add_argument("--context-tokens", type=int, default=8192, metavar="N", help="default 8192")
    parser.add_argument("--until-stdin-closes", action="store_true", help="stop at the end of standard input")
    options = parser.parse_args(arguments)
    if options.socket.suffix != _SUFFIX:
        parser.error(f"--socket must end in {_SUFFIX}")
    if options.context_tokens < 1:
        parser.error("--context-tokens must be at least 1")
    return options


def _end_with_stdin() -> None:
    """Have the kernel send SIGIO when whoever holds the other end of standard input is gone.

    While llama.cpp loads a model it keeps the interpreter, and nobody could read; a signal ends us even then.
    """
    fcntl.fcntl(0, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(0, fcntl.F_SETFL, fcntl.fcntl(0, fcntl.F_GETFL) | os.O_ASYNC)
    if select.select([0], [], [], 0)[0]:
        raise SystemExit(0)


def _wanted(options: argparse.Namespace) -> xllamacpp.CommonParams:
    """What llama.cpp is to serve, where, and without what else it could."""
    import xllamacpp

    wanted = xllamacpp.CommonParams()
    wanted.model.path = str(options.gguf)
    wanted.model_alias = {options.model or model_name(options.gguf)}
    wanted.hostnames = [str(options.socket)]
    wanted.n_parallel = _SIDE_BY_SIDE
    wanted.n_ctx = options.context_tokens * _SIDE_BY_SIDE
    # Its threads wait for each other in loops: where one of them must share its CPU, all stand still.
    wanted.cpuparams.n_threads = wanted.cpuparams_batch.n_threads = max(1, len(os.sched_getaffinity(0)) // 2)
    wanted.cache_ram_mib = 0  # for prompts of the past; the default is 8 GiB
    wanted.endpoint_metrics = True
    wanted.endpoint_slots = wanted.ui = False
    wanted.offline = True
    wanted.verbosity = 1  # errors
    return wanted


def _load(options: argparse.Namespace) -> xllamacpp.Server:
    """llama.cpp's server; it serves as long as somebody holds it.

    :raises SystemExit: if the model cannot be loaded or the socket cannot be had, with the reason as one line.
    """
    import xllamacpp

    stderr = os.dup(2)
    with tempfile.TemporaryFile() as said:
        os.dup2(said.fileno(), 2)  # it writes there, and tells no reason otherwise
        try:
            return xllamacpp.Server(_wanted(options))
        except RuntimeError:
            said.seek(0)
            found = _COMPLAINT.search(said.read().decode(errors="replace"))
            why = " ".join(found[1].split()) if found else "it does not say why"
            raise SystemExit(f"{options.gguf}: llama.cpp cannot serve it: {why}") from None
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)


def _healthy(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(_HEALTH_SECONDS)
        client.connect(str(path))
        client.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        with client.makefile("rb") as answer:
            return b" 200 " in answer.readline()


def main(arguments: list[str]) -> None:
    """Serve until stopped.

    :raises SystemExit: if the model cannot be served, with the reason as one line.
    """
    options = _options(arguments)
    reason = refusal(options.gguf, llama_installed())
    if reason:
        raise SystemExit(reason)
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # until it serves, every signal ends it at once
    if options.until_stdin_closes:
        _end_with_stdin()
    os.umask(0o077)
    clear(options.socket)
    server = _load(options)
    if not _healthy(options.socket):
        raise SystemExit(f"{options.gguf}: llama.cpp loaded it and is not healthy")
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)  # what llama.cpp says of a request may quote it

    def leave(number: int, frame: object) -> None:
        options.socket.unlink(missing_ok=True)
        os._exit(0)  # an orderly end of llama.cpp would wait for answers that may never end

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGIO):
        signal.signal(number, leave)
    print("READY", flush=True)
    while server:
        signal.pause()


if __name__ == "__main__":
    main(sys.argv[1:])
