"""By how much the processes of sessions stand back."""

from __future__ import annotations

import os
import subprocess
import tempfile

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
