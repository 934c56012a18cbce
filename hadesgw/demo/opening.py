"""`--demo`: a configuration whose model is the rehearsal, whose only client is fresh, and word of how to use it."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import msgspec
from twisted.application.service import Service
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from hadesgw.config import Config, Upstream
from hadesgw.demo.process import RehearsalProcess
from hadesgw.interfaces import IServing
from hadesgw.policy.credentials import ClientStore, Role, entry, mint_token, parse_clients

CLIENT = "demo"
MODEL = "qwen3-coder-30b-a3b-instruct"


class Opening:
    """What `--demo` puts in the place of the model server and of the clients file.

    :ivar config: the operator's configuration, pointed at the rehearsal model.
    :ivar clients: one client, whose token exists only in this process and on the terminal.
    """

    def __init__(self, config: Config, script: str | None) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="hadesgw-demo-"))  # 0700: the socket in it is ours alone
        self._token = mint_token(os.urandom)
        self._script = None if script is None else Path(script).absolute()
        upstream = Upstream(name="rehearsal", socket=str(self._folder / "model.sock"), models=(MODEL,))
        self.config = msgspec.structs.replace(
            config, upstream=(upstream,), log=msgspec.structs.replace(config.log, format="text")
        )
        directory = parse_clients(entry(CLIENT, self._token, [Role.ADMIN], None), "the demo's client")
        self.clients = ClientStore(directory, None)

    def service(self, reactor: Any, gateway: IServing) -> Service:
        """Runs the model, and prints how to use it once both it and the gateway serve."""
        model = RehearsalProcess(
            reactor, Path(self.config.upstream[0].socket), models=[MODEL], script=self._script
        )
        return _Demo(reactor, model, gateway, self._folder, self._token)


class _Demo(Service):
    """The rehearsal model's life, inside the gateway's."""

    def __init__(
        self, reactor: Any, model: RehearsalProcess, gateway: IServing, folder: Path, token: str
    ) -> None:
        self._reactor = reactor
        self._model = model
        self._gateway = gateway
        self._folder = folder
        self._token = token

    def startService(self) -> None:
        """Start the model."""
        Service.startService(self)
        self._model.start().addCallbacks(lambda _: self._tell(), self._failed)

    def _failed(self, failure: Failure) -> None:
        print(
            f"hadesgw: the rehearsal model did not start: {failure.getErrorMessage()}",
            file=sys.__stderr__,
            flush=True,
        )
        self._reactor.stop()

    def stopService(self) -> Deferred[None]:
        """Stop the model and leave nothing behind."""
        Service.stopService(self)
        return self._model.stop().addBoth(lambda _: shutil.rmtree(self._folder, ignore_errors=True))

    def _tell(self) -> None:
        for address in self._gateway.addresses:
            if isinstance(address, IPv4Address):
                invitation = _invitation(f"http://{address.host}:{address.port}", self._token)
                print(invitation, file=sys.__stdout__, flush=True)
                return


def _invitation(url: str, token: str) -> str:
    body = f'{{"model":"{MODEL}","stream":true,"messages":[{{"role":"user","content":"Say hello"}}]}}'
    return f"""
hadesgw serves a rehearsal model: no weights and no thoughts, but the manner of a real vLLM.

  URL   {url}/v1
  key   {token}

Paste this:

curl -sN {url}/v1/chat/completions -H 'Authorization: Bearer {token}' -H 'Content-Type: application/json' -d '{body}'

Next: {url}/readyz, {url}/metrics (same key), docs/rehearsal.md for what the model can be asked,
docs/configuration.md for a real vLLM. Stop with Ctrl-C.
"""
