"""`--demo`: a configuration whose model is the rehearsal, whose only client is fresh, and who tells how to use it."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile

import msgspec
from twisted.application.service import Service
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred

from hadesgw.config import Config, Upstream
from hadesgw.demo.process import RehearsalProcess
from hadesgw.interfaces import IServing
from hadesgw.policy.credentials import ClientDirectory, ClientStore, Role, entry, mint_token, parse_clients

CLIENT = "demo"
MODEL = "qwen3-coder-30b-a3b-instruct"


class Stage:
    """What `--demo` puts in the place of the model server and of the clients file.

    :ivar config: the operator's configuration, pointed at the rehearsal model.
    :ivar clients: one client, whose token exists only in this process and on the terminal.
    """

    def __init__(self, config: Config, clients: ClientStore, folder: str, token: str, script: str | None) -> None:
        self.config = config
        self.clients = clients
        self._folder = folder
        self._token = token
        self._script = script

    @classmethod
    def set(cls, config: Config, script: str | None) -> Stage:
        """Make the private folder, the client and the configuration."""
        folder = tempfile.mkdtemp(prefix="hadesgw-demo-")  # 0700: the socket in it is ours alone
        token = mint_token(os.urandom)
        directory = parse_clients(entry(CLIENT, token, [Role.ADMIN], None), "demo client")
        upstream = Upstream(name="rehearsal", socket=os.path.join(folder, "model.sock"), models=(MODEL,))
        staged = msgspec.structs.replace(
            config, upstream=(upstream,), log=msgspec.structs.replace(config.log, format="text")
        )
        return cls(staged, ClientStore(ClientDirectory(directory.clients), None), folder, token, script)

    def service(self, reactor: object, gateway: IServing) -> Service:
        """Runs the model, and prints how to use it once both it and the gateway serve."""
        socket = self.config.upstream[0].socket
        model = RehearsalProcess(reactor, socket, models=[MODEL], script=self._script)
        return _Performance(model, gateway, self._folder, self._token)


class _Performance(Service):
    """The rehearsal model's life, inside the gateway's."""

    def __init__(self, model: RehearsalProcess, gateway: IServing, folder: str, token: str) -> None:
        self._model = model
        self._gateway = gateway
        self._folder = folder
        self._token = token

    def startService(self) -> None:
        """Raise the curtain."""
        Service.startService(self)
        self._model.start().addCallbacks(lambda _: self._tell(), self._flop)

    def _flop(self, failure: object) -> None:
        print(f"hadesgw: the rehearsal model did not start: {failure}", file=sys.__stderr__, flush=True)

    def stopService(self) -> Deferred[None]:
        """Let it fall."""
        Service.stopService(self)
        stopped: Deferred[None] = self._model.stop()
        return stopped.addBoth(lambda _: shutil.rmtree(self._folder, ignore_errors=True))

    def _tell(self) -> None:
        for address in self._gateway.addresses:
            if isinstance(address, IPv4Address):
                print(_invitation(f"http://{address.host}:{address.port}", self._token), file=sys.__stdout__, flush=True)
                return


def _invitation(url: str, token: str) -> str:
    body = f'{{"model":"{MODEL}","stream":true,"messages":[{{"role":"user","content":"Say hello"}}]}}'
    return f"""
hadesgw serves a rehearsal model: no weights, no thoughts, but the manner of a real vLLM.

  URL   {url}/v1
  key   {token}

Paste this:

curl -sN {url}/v1/chat/completions -H 'Authorization: Bearer {token}' -H 'Content-Type: application/json' -d '{body}'

Next: {url}/readyz, {url}/metrics (same key), docs/rehearsal.md for what the model can be asked to do,
docs/clients.md for SDKs and Codex, docs/configuration.md for a real vLLM. Stop with Ctrl-C.
"""
