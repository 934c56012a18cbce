"""`--demo`: a configuration with a model of ours and a fresh client, and word of how to use it."""

from __future__ import annotations

import atexit
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import msgspec
from twisted.application.service import Service
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from hadesgw.config import Config, Sessions, Upstream
from hadesgw.demo.local_model import llama_installed, model_name, refusal
from hadesgw.demo.process import LocalModelProcess, ModelProcess, RehearsalProcess
from hadesgw.demo.script import ScriptError, read_script
from hadesgw.demo.workshop import furnish
from hadesgw.interfaces import IServing
from hadesgw.policy.credentials import ClientStore, Role, entry, mint_token, parse_clients
from hadesgw.sessions.codex_program import ProgramAbsent, find_program
from hadesgw.sessions.rehearsal import RehearsalEngine

CLIENT = "demo"
MODEL = "qwen3-coder-30b-a3b-instruct"
WORKSPACE = "scratch"
REHEARSAL_CONTEXT_TOKENS = 32_768
"""Enough for a coding agent, whose first request has 7,000 tokens of instructions alone."""


class OpeningRefused(Exception):
    """The demo cannot be given like this; the text says why and what to do."""


class _Cast(msgspec.Struct, frozen=True):
    """Who plays the model.

    :ivar upstream: its name as an upstream.
    :ivar model: the name it answers to.
    :ivar introduction: what it is, in a sentence.
    :ivar context_tokens: how long a prompt and its answer may be.
    :ivar process: makes its process of a reactor and a socket's path.
    """

    upstream: str
    model: str
    introduction: str
    context_tokens: int
    process: Callable[[Any, Path], ModelProcess]


def _rehearsal(script: str | None) -> _Cast:
    """The rehearsal model.

    :raises OpeningRefused: if the script is none.
    """
    path = None if script is None else Path(script).absolute()
    if path is not None:
        try:
            read_script(path)  # the model reads it again; this is to tell of a mistake before anything is served
        except ScriptError as error:
            raise OpeningRefused(f"--script: {error}") from None
    return _Cast(
        "rehearsal",
        MODEL,
        "a rehearsal model: no weights and no thoughts, but the manner of a real vLLM.",
        REHEARSAL_CONTEXT_TOKENS,
        lambda reactor, socket: RehearsalProcess(
            reactor, socket, models=[MODEL], script=path, context_tokens=REHEARSAL_CONTEXT_TOKENS
        ),
    )


def _local_model(gguf: Path, context_tokens: int) -> _Cast:
    """A model file of the user's.

    :raises OpeningRefused: if it is known that it cannot be served here.
    """
    reason = refusal(gguf, llama_installed())
    if reason:
        raise OpeningRefused(f"--gguf: {reason}")
    name = model_name(gguf)
    return _Cast(
        "local",
        name,
        f"the real model {name}, which llama.cpp runs on this machine.",
        context_tokens,
        lambda reactor, socket: LocalModelProcess(reactor, socket, gguf=gguf, name=name, context_tokens=context_tokens),
    )


class Opening:
    """What `--demo` puts in the place of the model server and of the clients file.

    :param script: a file of rules for the rehearsal model, or None.
    :param gguf: a model file to be served in the rehearsal model's place, or None.
    :ivar config: the operator's configuration, pointed at the model.
    :ivar clients: one client, whose token exists only in this process and on the terminal.
    :raises OpeningRefused: if the model cannot be served.
    """

    def __init__(self, config: Config, script: str | None, gguf: str | None) -> None:
        if script is not None and gguf is not None:
            raise OpeningRefused("--script is for the rehearsal model, a model of --gguf says what it likes")
        if gguf is None:
            self._cast = _rehearsal(script)
        else:
            self._cast = _local_model(Path(gguf).absolute(), config.budget.context_tokens)
        self._folder = Path(tempfile.mkdtemp(prefix="hadesgw-demo-"))  # 0700: the socket in it is ours alone
        atexit.register(shutil.rmtree, self._folder, ignore_errors=True)  # also of a demo that does not begin
        self._token = mint_token(os.urandom)
        upstream = Upstream(
            name=self._cast.upstream,
            socket=str(self._folder / "model.sock"),
            models=(self._cast.model,),
            context_tokens=self._cast.context_tokens,
        )
        self.config = msgspec.structs.replace(
            config,
            upstream=(upstream,),
            webclient=msgspec.structs.replace(config.webclient, default_model=""),
            sessions=_scratch(config.sessions, self._folder / WORKSPACE),
            log=msgspec.structs.replace(config.log, format="text"),
        )
        directory = parse_clients(entry(CLIENT, self._token, [Role.ADMIN], None), "the demo's client")
        self.clients = ClientStore(directory, None)

    def service(self, reactor: Any, gateway: IServing) -> Service:
        """Runs the model, and prints how to use it once both it and the gateway serve."""
        model = self._cast.process(reactor, Path(self.config.upstream[0].socket))
        page = "webclient" in self.config.tree.get("/", ())
        return _Demo(reactor, model, gateway, self._folder, lambda url: self._invite(url, page))

    def _invite(self, url: str, page: bool) -> str:
        sessions = self.config.sessions
        told = _invitation(url, self._token, self._cast, page)
        if not any(layers[-1] == "codex" for layers in self.config.tree.values()):
            return told
        return told + _session_invitation(url, self._token, sessions.engine, next(iter(sessions.workspaces.values())))


def _scratch(sessions: Sessions, folder: Path) -> Sessions:
    """A workspace to play in, where the operator has none."""
    if sessions.workspaces:
        return sessions
    workspaces = {WORKSPACE: str(furnish(folder))}
    return msgspec.structs.replace(
        sessions, engine=_engine(sessions), model="", workspaces=workspaces, default_workspace=WORKSPACE
    )


def _engine(sessions: Sessions) -> Literal["codex", "aider", "rehearsal"]:
    """The real agent where it is installed; else the one that needs no program."""
    try:
        find_program(sessions.codex.binary)
    except ProgramAbsent:
        return RehearsalEngine.name
    return sessions.engine


class _Demo(Service):
    """The model's life, inside the gateway's."""

    def __init__(
        self, reactor: Any, model: ModelProcess, gateway: IServing, folder: Path, invitation: Callable[[str], str]
    ) -> None:
        self._reactor = reactor
        self._model = model
        self._gateway = gateway
        self._folder = folder
        self._invitation = invitation

    def startService(self) -> None:
        """Start the model."""
        Service.startService(self)
        self._model.start().addCallbacks(lambda _: self._tell(), self._failed)

    def _failed(self, failure: Failure) -> None:
        print(
            f"hadesgw: the model did not start: {failure.getErrorMessage()}",
            file=sys.__stderr__,
            flush=True,
        )
        # The runners know no other way to fail once the reactor runs; by then all services have stopped.
        self._reactor.addSystemEventTrigger("after", "shutdown", os._exit, 1)
        self._reactor.stop()

    def stopService(self) -> Deferred[None]:
        """Stop the model and leave nothing behind."""
        Service.stopService(self)
        return self._model.stop().addBoth(lambda _: shutil.rmtree(self._folder, ignore_errors=True))

    def _tell(self) -> None:
        for address in self._gateway.addresses:
            if isinstance(address, IPv4Address):
                print(self._invitation(f"http://{address.host}:{address.port}"), file=sys.__stdout__, flush=True)
                return


def _invitation(url: str, token: str, cast: _Cast, page: bool) -> str:
    # The key is in the fragment, which browsers send to nobody; the page takes it and cleans the address.
    page_line = f"  page  {url}/#key={token}\n" if page else ""
    body = f'{{"model":"{cast.model}","stream":true,"messages":[{{"role":"user","content":"Say hello"}}]}}'
    return f"""
hadesgw serves {cast.introduction}

{page_line}  URL   {url}/v1
  key   {token}

Paste this:

curl -sN {url}/v1/chat/completions -H 'Authorization: Bearer {token}' -H 'Content-Type: application/json' -d '{body}'

Next: {url}/readyz, {url}/metrics (same key), docs/rehearsal.md for what to expect of the model,
docs/clients.md for SDKs and Codex, docs/configuration.md for a real vLLM. Stop with Ctrl-C.
"""


def _session_invitation(url: str, token: str, engine: str, workspace: str) -> str:
    key = f"-H 'Authorization: Bearer {token}'"
    return f"""
A coding agent ({engine}) works in {workspace}; this tells what it does, and sets it to work:

curl -sN {url}/api/codex/sessions/default/events {key} &
curl -s {url}/api/codex/input {key} -H 'Content-Type: application/json' -d '{{"text":"Add a comment to calc.py"}}'

docs/sessions.md has the rest.
"""
