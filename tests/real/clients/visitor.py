"""A program that uses a client library for us: it reads a line of JSON, acts, and answers with a line of JSON.

    {"act": "chat", "settings": {"base_url": ..., "key": ...}, "arguments": {"prompt": ...}}
    {"heard": {"text": ...}, "raised": null}

The same act has the same arguments and tells the same things in every language, so that one test serves for all.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.real.waiting import NeverHappened


class VisitorFailed(Exception):
    """The program ended, or said what is no outcome; the text holds the end of its log."""


@dataclass(frozen=True)
class Outcome:
    """What an act came to.

    :ivar heard: what the library gave, up to the failure if there was one.
    :ivar raised: of the exception: the names of its `kinds` from the special to the general, `message`, and `status`,
        `code`, `type`, `body` and `request_id` as the library shows them.
    """

    heard: dict[str, Any]
    raised: dict[str, Any] | None

    def good(self) -> dict[str, Any]:
        """What was heard; there was no failure."""
        assert self.raised is None, self.raised
        return self.heard

    def bad(self) -> dict[str, Any]:
        """What was raised; there was a failure."""
        assert self.raised is not None, self.heard
        return self.raised


class Visitor:
    """One running program; it ends with its standard input, so with us at the latest.

    :param log: where its standard error goes.
    """

    def __init__(self, command: Sequence[str | Path], folder: Path, environment: Mapping[str, str], log: Path) -> None:
        self.log = log
        self.unread = b""
        with open(log, "ab") as errors:
            self.child = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, env=environment, cwd=folder
            )

    def end(self) -> None:
        assert self.child.stdin is not None
        assert self.child.stdout is not None
        self.child.stdin.close()
        try:
            self.child.wait(5)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait()
        self.child.stdout.close()

    def act(self, act: str, settings: Mapping[str, object], arguments: Mapping[str, object]) -> Outcome:
        """Have it act, and wait for the outcome."""
        self.begin(act, settings, arguments)
        return self.outcome()

    def begin(self, act: str, settings: Mapping[str, object], arguments: Mapping[str, object]) -> None:
        """Have it act, and wait for nothing."""
        assert self.child.stdin is not None
        line = json.dumps({"act": act, "settings": settings, "arguments": arguments})
        self.child.stdin.write(line.encode() + b"\n")
        self.child.stdin.flush()

    def outcome(self, seconds: float = 120.0) -> Outcome:
        """What has become of the act that was begun.

        :raises NeverHappened: when nothing has, in so many seconds.
        :raises VisitorFailed: when the program has ended instead.
        """
        line = json.loads(self._line(time.monotonic() + seconds))
        return Outcome(line["heard"], line["raised"])

    def _line(self, deadline: float) -> bytes:
        assert self.child.stdout is not None
        while b"\n" not in self.unread:
            readable, _, _ = select.select([self.child.stdout], [], [], max(0.0, deadline - time.monotonic()))
            if not readable:
                raise NeverHappened("the visitor did not answer in time")
            data = os.read(self.child.stdout.fileno(), 65536)
            if not data:
                said = self.log.read_text(errors="replace").splitlines()[-20:]
                raise VisitorFailed("\n  | ".join(["the visitor has ended; it said:", *said]))
            self.unread += data
        line, _, self.unread = self.unread.partition(b"\n")
        return line
