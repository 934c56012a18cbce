"""The one vLLM that all tests of this package share, because a start takes most of a minute."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from pathlib import Path

from tests.real.kits import SUPPLIES
from tests.real.vllm.environment import VLLM_KIT
from tests.real.vllm.server import VllmServer

CONTEXT = 32768
"""Room for answers that last until somebody leaves."""


class SharedVllm:
    """Started when it is first wanted, stopped when the test run ends.

    Neither trial nor pytest has a fixture for a whole run that the other knows too, hence the exit hook.
    """

    def __init__(self) -> None:
        self.server: VllmServer | None = None

    def running(self) -> VllmServer:
        """The server, well: a test that killed it, or could not restart it, leaves that to the next one that needs it.

        :raises SkipTest: when it cannot be had, with the reason; `HADESGW_REQUIRE_REAL=1` makes that a
            failure.
        """
        if self.server is None:
            self.server = self._begin()
        if not self.server.well():
            self.server.restart()
        return self.server

    def _begin(self) -> VllmServer:
        kit = SUPPLIES.kit(VLLM_KIT)
        folder = Path(tempfile.mkdtemp(prefix="hadesgw-vllm-"))
        server = VllmServer(kit, folder, max_model_len=CONTEXT)
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        atexit.register(server.stop)
        return server


VLLM = SharedVllm()
