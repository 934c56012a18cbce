"""Knowing when nothing is left."""

from __future__ import annotations

import os
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from hadesgw.sessions.family import MARK, Marked, Namespace

NO_PROCESS = 4_194_305
"""Past the largest id there is."""


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


class NamespaceTests(SynchronousTestCase):
    """A family that is known by its first process."""

    def test_never_made(self) -> None:
        """One of which bubblewrap said nothing is gone, and there is nothing to end."""
        family = Namespace(Path("/nobody/lives/here"))
        family.kill()
        self.assertTrue(family.gone())
        family.close()

    def test_alive(self) -> None:
        """One whose first process lives is not gone; we are such a process ourselves."""
        before = descriptors()
        family = Namespace(Path("/nobody/lives/here"))
        said = f'{{\n    "child-pid": {os.getpid()}\n}}\n'.encode()
        family.told(said[:10])
        self.assertTrue(family.gone())
        family.told(said[10:])
        family.told(said)
        self.assertFalse(family.gone())
        family.close()
        self.assertEqual(descriptors(), before)

    def test_ended_already(self) -> None:
        """One whose first process is no more is gone."""
        family = Namespace(Path("/nobody/lives/here"))
        family.told(b'{"child-pid": %d}' % NO_PROCESS)
        self.assertTrue(family.gone())

    def test_nonsense(self) -> None:
        """What is no word of bubblewrap's names nobody, and is not kept without bound."""
        family = Namespace(Path("/nobody/lives/here"))
        for said in (b'{"child-pid": "x"}', b"[]", b"\xff" * 100_000):
            family.told(said)
        self.assertTrue(family.gone())
        self.assertLessEqual(len(family._said), 4096)


class MarkedTests(SynchronousTestCase):
    """A family whose members are marked."""

    def test_nobody(self) -> None:
        """Where no process bears the mark, nobody is left, and nobody is ended."""
        family = Marked(os.urandom(8).hex())
        family.told(b"anything")
        family.kill()
        self.assertTrue(family.gone())
        family.close()

    def test_the_mark_is_no_secret_of_commands(self) -> None:
        """It is one of those variables that an agent's commands would not get unless they are given it."""
        self.assertTrue(MARK.startswith("HADESGW_"))
