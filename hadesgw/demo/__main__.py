"""``python -m hadesgw.demo --socket PATH``: serve the rehearsal model on a UNIX socket until told to stop.

Prints READY when it serves. Exits 0 on SIGTERM and SIGINT, and with ``--until-stdin-closes`` also when
whoever started it is gone.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from secrets import token_hex
from typing import Final

from twisted.internet import reactor
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IReactorUNIX
from twisted.internet.protocol import Protocol
from twisted.internet.stdio import StandardIO
from twisted.python.failure import Failure

from hadesgw.demo.leftover import clear
from hadesgw.demo.manner import UvicornSite
from hadesgw.demo.order import House
from hadesgw.demo.script import Script, ScriptError, built_in, read_script
from hadesgw.demo.theatre import Theatre

_BACKLOG: Final = 2048  # uvicorn's
_MODE: Final = 0o755  # what vLLM's socket has under the usual umask: only its owner can connect


class _Parent(Protocol):
    """Whoever started this process, at the other end of standard input."""

    def connectionLost(self, reason: Failure = Failure) -> None:  # type: ignore[assignment]
        """It is gone, and so are we."""
        if reactor.running:
            reactor.stop()


def _options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m hadesgw.demo", description="Serve hadesgw's rehearsal model.")
    parser.add_argument("--socket", required=True, type=Path, metavar="PATH", help="the UNIX socket to serve on")
    parser.add_argument(
        "--model",
        nargs="+",
        action="extend",
        metavar="NAME",
        help="the names it answers to, the first by default",
    )
    parser.add_argument("--script", type=Path, metavar="FILE", help="rules in TOML, tried before the built-in ones")
    parser.add_argument("--tokens-per-second", type=float, default=50.0, metavar="N", help="0 is unpaced; default 50")
    parser.add_argument("--context-tokens", type=int, default=8192, metavar="N", help="default 8192")
    parser.add_argument("--until-stdin-closes", action="store_true", help="stop at the end of standard input")
    options = parser.parse_args(arguments)
    if options.tokens_per_second < 0 or options.context_tokens < 1:
        parser.error("--tokens-per-second must not be negative and --context-tokens must be at least 1")
    return options


def _script(path: Path | None) -> Script:
    """The rules of a file before the built-in ones.

    :raises SystemExit: with a line that names the file and what is wrong.
    """
    rules = built_in().rules
    if path is None:
        return Script(rules)
    try:
        return Script((*read_script(path).rules, *rules))
    except ScriptError as error:
        raise SystemExit(str(error)) from None


def main(arguments: list[str]) -> None:
    """Serve until stopped.

    :raises SystemExit: if the script cannot be read or the socket cannot be had.
    """
    options = _options(arguments)
    house = House(tuple(options.model or ["qwen3-coder-30b-a3b-instruct"]), options.context_tokens)
    script, pace = _script(options.script), options.tokens_per_second
    site = UvicornSite(Theatre(house, script, reactor, pace, lambda: token_hex(8)), reactor)
    clear(options.socket)
    try:
        listen = IReactorUNIX(reactor).listenUNIX
        listen(str(options.socket), site, _BACKLOG, _MODE)  # type: ignore[arg-type]
    except CannotListenError as error:
        raise SystemExit(f"{options.socket}: cannot listen: {error.socketError}") from None
    if options.until_stdin_closes:
        StandardIO(_Parent())
    reactor.callWhenRunning(print, "READY", flush=True)
    reactor.run()


if __name__ == "__main__":
    main(sys.argv[1:])
