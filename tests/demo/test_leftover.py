from __future__ import annotations

import socket
from pathlib import Path
from tempfile import TemporaryDirectory

from twisted.trial.unittest import SynchronousTestCase

from hadesgw.demo.leftover import clear


class ClearTests(SynchronousTestCase):
    """What stands where a process wants to listen."""

    def setUp(self) -> None:
        folder = TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = Path(folder.name) / "model.sock"

    def test_the_socket_of_a_dead_process_goes(self) -> None:
        """So that nobody has to clean up after a crash."""
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(self.path))
            listener.listen()
        clear(self.path)
        self.assertFalse(self.path.exists())

    def test_a_live_socket_stays(self) -> None:
        """It is somebody's."""
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(self.path))
            listener.listen()
            clear(self.path)
            self.assertTrue(self.path.exists())

    def test_what_is_no_socket_stays(self) -> None:
        """A file is not ours to remove, and nothing needs no removal."""
        clear(self.path)
        self.path.touch()
        clear(self.path)
        self.assertTrue(self.path.exists())
