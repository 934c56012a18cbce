"""What an operator wants to know of a model server's socket: may we connect, who answers, and what does it serve."""

from __future__ import annotations

import errno
import grp
import http.client
import json
import os
import pwd
import shlex
import socket
import stat
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from threading import Timer
from typing import Any, Literal

import msgspec

from hadesgw.config import Config, Upstream

Observation = tuple[Literal["good", "warning", "bad"], str, str]
"""Verdict, what was found, and what to do about it or ""."""

ANSWER_SECONDS = 5.0
_MOST_BYTES = 1 << 20


def look_at_model_server(config: Config, upstream: Upstream) -> Iterator[Observation]:
    """From the folder of the socket to the length of the model's context; ends at what nothing can be said beyond."""
    if (obstacle := _look_at_file(upstream.socket)) is not None:
        yield obstacle
        return
    yield from _modes(upstream.socket)
    try:
        health = _get(upstream.socket, "/health")
    except ConnectionRefusedError:
        remedy = "start the model server; a socket that a dead one left behind is replaced by vLLM itself"
        yield "bad", f"nobody listens on {upstream.socket}", remedy
        return
    except PermissionError:
        yield "bad", f"we may not connect to {upstream.socket}", _join(upstream.socket)
        return
    except BlockingIOError:
        yield "bad", f"{upstream.socket} has a full queue: the model server does not accept", "look at its log"
        return
    except (OSError, http.client.HTTPException) as error:
        told = f"{upstream.socket} does not answer within {ANSWER_SECONDS:g} s, or not in HTTP: {error}"
        yield "bad", told, "is this the socket of a vLLM API server (vllm serve --uds PATH)? Look at its log"
        return
    status, _ = health
    if status != 200:
        yield "bad", f"/health answers {status}: the engine is not well", "look at the model server's log; restart it"
        return
    yield "good", f"{upstream.socket} answers, and its engine is well", ""
    yield from _models(config, upstream)
    yield from _tokenizer(upstream)


# -- The file ----------------------------------------------------------------------------------------------------------


def _look_at_file(path: str) -> Observation | None:
    try:
        mode = Path(path).stat().st_mode
    except FileNotFoundError:
        remedy = f"start the model server with --uds {shlex.quote(path)}, or set upstream.socket to where it listens"
        return "bad", f"there is no {path}", remedy
    except PermissionError:
        return "bad", f"we may not look into {Path(path).parent}", _join(path)
    except OSError as error:
        return "bad", f"{path}: {error.strerror}", "set upstream.socket to the model server's socket"
    if not stat.S_ISSOCK(mode):
        return "bad", f"{path} is no socket", "set upstream.socket to the model server's socket"
    return None


def _modes(path: str) -> Iterator[Observation]:
    """Who else may talk to the model server, past us."""
    status, folder = Path(path).stat(), Path(path).parent.stat()
    owner = f"{_user(status.st_uid)}:{_group(status.st_gid)}, mode {stat.S_IMODE(status.st_mode):o}"
    if status.st_mode & stat.S_IWOTH and folder.st_mode & stat.S_IXOTH:
        remedy = f"run: chmod o-rwx {shlex.quote(str(Path(path).parent))}, and have a group for who may connect"
        yield "warning", f"everybody on this machine may talk to {path} ({owner}), past the gateway", remedy
    else:
        yield "good", f"{path} is of {owner}", ""


def _join(path: str) -> str:
    """How to be let in, for whoever asks."""
    try:
        group = _group(Path(path).parent.stat().st_gid)
    except OSError:
        group = "GROUP"
    return f"add the gateway's user ({_user(os.geteuid())}) to the group of the socket and its folder ({group})"


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _group(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


# -- What answers ------------------------------------------------------------------------------------------------------


class _Card(msgspec.Struct):
    id: str
    max_model_len: Any = None


class _List(msgspec.Struct):
    data: list[_Card]


_LIST = msgspec.json.Decoder(_List).decode


def _models(config: Config, upstream: Upstream) -> Iterator[Observation]:
    """Does it serve what the configuration lets clients ask for, in the length it lets them ask for?"""
    try:
        _, body = _get(upstream.socket, "/v1/models")
        served = {card.id: card.max_model_len for card in _LIST(body).data}
    except (OSError, http.client.HTTPException, msgspec.DecodeError, RecursionError, UnicodeError):
        yield "bad", "/v1/models has no list of models", "is this a vLLM API server? Look at its log"
        return
    admitted = set(upstream.models) - {"*"}
    missing = sorted(admitted - served.keys())
    if missing:
        told = f"it does not serve {', '.join(missing)}, but {', '.join(sorted(served)) or 'nothing'}"
        yield "bad", told, "set upstream.models to what it serves, or give it that name (--served-model-name)"
    else:
        yield "good", f"it serves {', '.join(sorted(served))}", ""
    context, _ = config.tokens(upstream)
    for name in sorted(admitted & served.keys() or served.keys()):
        length = served[name]
        if type(length) is int and length < context:
            told = f"{name} takes {length} tokens, and context_tokens admits {context}: vLLM will refuse what we admit"
            yield "warning", told, f"set context_tokens = {length}"
        elif type(length) is int and length > context:
            told = f"{name} takes {length} tokens; context_tokens keeps clients to {context}"
            yield "good", told, f"set context_tokens = {length} to use all of it"


def _tokenizer(upstream: Upstream) -> Iterator[Observation]:
    """Without it budgets are estimates."""
    question = json.dumps({"prompt": "x"}).encode()
    try:
        status, _ = _get(upstream.socket, "/tokenize", question)
    except (OSError, http.client.HTTPException):
        status = 0
    if status in (0, 404, 405):
        told = "it has no /tokenize, so prompts near the budget are estimated (hades_codex_budget_estimates_total)"
        yield "warning", told, "use a vLLM that has it"
    else:
        yield "good", "it counts tokens for us (/tokenize)", ""


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=ANSWER_SECONDS)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        failure = self.sock.connect_ex(self._path)
        if failure == errno.EAGAIN:
            raise BlockingIOError(failure, os.strerror(failure))
        if failure:
            raise OSError(failure, os.strerror(failure))


def _get(path: str, target: str, body: bytes | None = None) -> tuple[int, bytes]:
    """Status and body of one answer; POST if there is something to say.

    :raises OSError, http.client.HTTPException: if there is none, or not all of it within :data:`ANSWER_SECONDS`.
    """
    with closing(_Connection(path)) as connection:
        connection.connect()
        ending = Timer(ANSWER_SECONDS, connection.sock.shutdown, (socket.SHUT_RDWR,))  # an answer may come byte by byte
        ending.daemon = True
        ending.start()
        try:
            method, fields = ("GET", {}) if body is None else ("POST", {"Content-Type": "application/json"})
            connection.request(method, target, body, fields)
            answer = connection.getresponse()
            return answer.status, answer.read(_MOST_BYTES)
        finally:
            ending.cancel()
