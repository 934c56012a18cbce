"""`python -m hadesgw.client "..."`: ask the coding session of a gateway, and have the reply as it comes."""

from __future__ import annotations

import argparse
import os
import random
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import react
from twisted.web.client import Agent

from hadesgw.client.codex import CodexClient, CodexError


def main() -> None:
    """Entry point."""
    options = _parser().parse_args()
    react(lambda reactor: Deferred.fromCoroutine(_ask(reactor, options, os.environ)))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m hadesgw.client",
        description="Ask the coding session of a gateway. The token is taken from $HADESGW_TOKEN, or from a file.",
        allow_abbrev=False,
    )
    parser.add_argument("text", metavar="TEXT", help="what is to be done, or a command such as /ls")
    parser.add_argument("--url", default="http://127.0.0.1:8082", help="of the gateway (default: %(default)s)")
    parser.add_argument("--token-file", metavar="FILE", type=Path, help="where the token is")
    parser.add_argument("--session", metavar="ID", default="default", help="of a session; else the default one")
    parser.add_argument("--workspace", metavar="NAME", help="where a session that has to be started shall work")
    parser.add_argument("--engine", metavar="NAME", help="who shall do the work there")
    parser.add_argument("--approve", action="store_true", help="approve whatever the agent asks for")
    return parser


async def _ask(reactor: Any, options: argparse.Namespace, environ: Mapping[str, str]) -> None:
    """Stream the reply to standard output; what goes wrong is one line, and status 1."""
    approvals: list[str] = []

    def hear(message: Mapping[str, Any]) -> None:
        kind, content = message["type"], message.get("content", {})
        if kind in ("warning", "error"):
            print(f"{kind}: {content}", file=sys.stderr, flush=True)
        elif kind == "approval_request" and content["approval_id"] not in approvals:
            approvals.append(content["approval_id"])
            decision = "accept" if options.approve and "accept" in content["decisions"] else "decline"
            print(f"{decision}: {content['kind']} {content['body'].get('command', '')}", file=sys.stderr, flush=True)
            answering = Deferred.fromCoroutine(client.approve(content["approval_id"], decision))
            answering.addErrback(lambda failure: None)  # somebody else was quicker

    token = options.token_file.read_text().strip() if options.token_file else environ.get("HADESGW_TOKEN")
    agent = Agent(reactor, connectTimeout=10)
    client = CodexClient(
        options.url, token, clock=reactor, agent=agent, random=random.random, session=options.session, hear=hear
    )
    wishes = {name: getattr(options, name) for name in ("workspace", "engine") if getattr(options, name)}
    try:
        async for piece in client.stream(options.text, **wishes):
            sys.stdout.write(piece)
            sys.stdout.flush()
    except CodexError as error:
        print(f"hadesgw.client: {error} ({error.code})", file=sys.stderr)
        raise SystemExit(1) from None
    print()


if __name__ == "__main__":
    main()
