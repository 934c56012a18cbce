"""By how much the processes of sessions stand back."""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from hadesgw.service.niceness import nice_command


class NicenessTests(SynchronousTestCase):
    """Words before a command line."""

    def test_more_than_ours(self) -> None:
        """What is run by them, and what that starts, is nicer than we are by so much, as far as there is room."""
        program = ("sh", "-c", "nice")
        ours, theirs = (int(subprocess.check_output([*words, *program])) for words in ((), nice_command(3)))
        self.assertEqual(theirs, min(ours + 3, 19))

    def test_not_at_all(self) -> None:
        """With 0 there are no words; nor where there is no such program."""
        self.assertEqual(nice_command(0), ())
        with tempfile.TemporaryDirectory() as nowhere:
            self.patch(os, "environ", {"PATH": nowhere})
            self.assertEqual(nice_command(3), ())

    def test_not_allowed(self) -> None:
        """Nor where the system forbids it, as a sealed unit does, and the program says so and goes on."""
        for script in ('echo "nice: cannot set niceness: Operation not permitted" >&2', "exit 1"):
            with tempfile.TemporaryDirectory() as folder:
                program = Path(folder) / "nice"
                program.write_text(f"#!/bin/sh\n{script}\n")
                program.chmod(0o755)
                self.patch(os, "environ", {"PATH": folder})
                self.assertEqual(nice_command(3), ())
