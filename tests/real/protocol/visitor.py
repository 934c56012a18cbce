"""A client of coding sessions by `websockets`: runs in the environment beside this file, among none of our modules.

`python visitor.py URL TOKEN TICKET`: plays one session through, and prints what it saw as one JSON object.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

SECONDS = 60.0
OURS = Subprotocol("hades.v1")


def hear_until(socket: ClientConnection, kind: str) -> list[dict[str, Any]]:
    """The messages up to the first of that type."""
    heard: list[dict[str, Any]] = []
    while not heard or heard[-1]["type"] != kind:
        heard.append(json.loads(socket.recv(SECONDS)))
    return heard


def say(socket: ClientConnection, kind: str, content: object) -> None:
    """Send a message of the guide's."""
    socket.send(json.dumps({"type": kind, "content": content}))


def dialog(url: str, token: str) -> dict[str, Any]:
    """What the guide's dialog shows: start, input, output, the end of the turn, errors, ping, close."""
    seen: dict[str, Any] = {}
    fields = {"Authorization": f"Bearer {token}", "X-Request-ID": "from-websockets"}
    with connect(url, additional_headers=fields, subprotocols=[OURS], compression="deflate") as socket:
        assert socket.response is not None
        seen["protocol"] = socket.subprotocol
        seen["extensions"] = [type(extension).__name__ for extension in socket.protocol.extensions]
        seen["request_id"] = socket.response.headers["X-Request-ID"]
        seen["first"] = hear_until(socket, "session_status")[0]["type"]
        say(socket, "start_session", {"timestamp": int(time.time() * 1000)})
        hear_until(socket, "input_request")
        say(socket, "input", "Add a function to visited.py")
        heard = hear_until(socket, "input_request")
        seen["types"] = sorted({message["type"] for message in heard})
        seqs = [message["seq"] for message in heard]
        seen["rising"] = seqs == list(range(seqs[0], seqs[0] + len(seqs)))
        socket.send(["{\"type\": \"pi", "ng\"}"])  # in fragments
        seen["pong"] = hear_until(socket, "pong")[-1]
        socket.send("no JSON")
        seen["error"] = hear_until(socket, "error")[-1]["code"]
        seen["latency"] = socket.ping().wait(SECONDS)
        socket.close(1000, "done")
        seen["closed"] = [socket.close_code, socket.close_reason]
    return seen


def closed_with(url: str, token: str, message: str | bytes) -> int | None:
    """The code that answers such a message."""
    with connect(url, additional_headers={"x-api-key": token}) as socket:
        try:
            socket.send(message)
            while True:
                socket.recv(SECONDS)
        except ConnectionClosed:
            code: int | None = socket.close_code
            return code


def refused_with(url: str, **how: Any) -> int:
    """The status that answers such a handshake; 101 if it is let in."""
    try:
        with connect(url, **how):
            return 101
    except InvalidStatus as refused:
        status: int = refused.response.status_code
        return status


def main(url: str, token: str, ticket: str) -> dict[str, Any]:
    """All there is to see."""
    offers = ["hades.v1", f"hades.ticket.{ticket}"]
    return {
        "dialog": dialog(url, token),
        "binary": closed_with(url, token, b"{}"),
        "large": closed_with(url, token, "x" * (1 << 20)),
        "ticket": refused_with(url, subprotocols=offers),
        "ticket again": refused_with(url, subprotocols=offers),
        "nobody": refused_with(url),
        "stranger": refused_with(url, origin="http://evil.example", additional_headers={"x-api-key": token}),
    }


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])))
