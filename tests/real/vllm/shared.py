"""The one vLLM that all tests of this package share, because a start takes most of a minute."""

from __future__ import annotations

import atexit
import os
import shutil
import sys
import tempfile
from pathlib import Path
from unittest import SkipTest

from tests.real.vllm.environment import EnvironmentUnavailable, VllmEnvironment, cache_folder, prepare
from tests.real.vllm.server import VllmServer

CONTEXT = 32768
"""Room for answers that last until somebody leaves."""


class SharedVllm:
    """Started when it is first wanted, stopped when the test run ends.

    Neither trial nor pytest has a fixture for a whole run that the other knows too, hence the exit hook.
    """

    def __init__(self) -> None:
        self.server: VllmServer | None = None
        self.absence = ""
        """Why there is none, once that is known."""

    def running(self) -> VllmServer:
        """The server, alive: a test that killed it leaves the restart to the next one that needs it.

        :raises SkipTest: when it cannot be had, with the reason; `HADESGW_REQUIRE_REAL=1` makes that a
            failure.
        """
        if self.server is None:
            self.server = self._begin()
        if not self.server.family():
            self.server.restart()
        return self.server

    def _begin(self) -> VllmServer:
        required = os.environ.get("HADESGW_REQUIRE_REAL") == "1"
        if not required and os.environ.get("HADESGW_REAL") != "1":
            raise SkipTest("real vLLM is tested by `make test-real`, which sets HADESGW_REAL=1")
        environment = self._environment()
        if environment is None:
            raise AssertionError(self.absence) if required else SkipTest(self.absence)
        folder = Path(tempfile.mkdtemp(prefix="hadesgw-vllm-"))
        server = VllmServer(environment, folder, max_model_len=CONTEXT)
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        atexit.register(server.stop)
        return server

    def _environment(self) -> VllmEnvironment | None:
        """Asked for once: what failed is not tried again for every test."""
        if not self.absence:
            try:
                return prepare(cache_folder())
            except EnvironmentUnavailable as problem:
                self.absence = f"NO REAL VLLM: {problem}"
                print(self.absence, file=sys.stderr)
        return None


VLLM = SharedVllm()
