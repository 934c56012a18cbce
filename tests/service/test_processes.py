"""What processes listen on, of real ones: this one, its children and theirs."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Sequence

from twisted.trial.unittest import SynchronousTestCase

from hadesgw.policy.exposure import Address, Held
from hadesgw.service.processes import listeners

LISTENS = """
import os, socket, sys
def listen():
    opened = socket.create_server(("127.0.0.1", 0))
    print(os.getpid(), opened.getsockname()[1], flush=True)
    return opened
"""
LISTENS_ON = (
    LISTENS
    + """
opened = listen()
sys.stdin.read()
"""
)
"""Listens until nobody is interested any more."""
CHILD_LISTENS = (
    LISTENS
    + """
if os.fork() == 0:
    opened = listen()
sys.stdin.read()
"""
)
"""Does not listen itself, but has a child that does."""
HIDES = (
    """
import ctypes
ctypes.CDLL(None).prctl(15, b") S 1 (", 0, 0, 0)
"""
    + LISTENS_ON
)
"""Gives itself a name that leads astray who reads its status carelessly."""


class ListenersTests(SynchronousTestCase):
    """`listeners`."""

    def found(self) -> set[Held]:
        """What is found now and was not when the test began: the runner may listen somewhere itself."""
        return set(listeners(os.getpid())) - self.before

    def setUp(self) -> None:
        self.before: set[Held] = set()
        self.before = self.found()

    def child(self, program: str, descriptors: Sequence[int] = ()) -> Held:
        """Start one that listens; where it does."""
        child = subprocess.Popen(
            [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, pass_fds=descriptors
        )
        self.addCleanup(child.wait)
        for pipe in (child.stdout, child.stdin):
            assert pipe is not None
            self.addCleanup(pipe.close)
        assert child.stdout is not None
        pid, port = child.stdout.readline().split()
        return Held(int(pid), Address.of("127.0.0.1", int(port)))

    def test_our_own(self) -> None:
        """Of both families, for as long as they listen; connections, and sockets that are only bound, are none."""
        with (
            socket.create_server(("127.0.0.1", 0)) as four,
            socket.create_server(("::1", 0), family=socket.AF_INET6) as six,
            socket.socket() as bound,
            socket.create_connection(four.getsockname()) as _,
        ):
            bound.bind(("127.0.0.1", 0))
            own = {Held(os.getpid(), Address.of(*opened.getsockname()[:2])) for opened in (four, six)}
            self.assertEqual(self.found(), own)
        self.assertEqual(self.found(), set())

    def test_children_and_theirs(self) -> None:
        """Whatever they call themselves."""
        held = {self.child(LISTENS_ON), self.child(CHILD_LISTENS), self.child(HIDES)}
        self.assertEqual(self.found(), held)

    def test_a_socket_that_a_child_has_inherited(self) -> None:
        """Is told of both."""
        with socket.create_server(("127.0.0.1", 0)) as opened:
            address = Address.of(*opened.getsockname())
            child = self.child(LISTENS_ON, [opened.fileno()])
            self.assertEqual(self.found(), {child, Held(child.pid, address), Held(os.getpid(), address)})

    def test_of_another_process(self) -> None:
        """Only it and its children are looked at."""
        child = self.child(LISTENS_ON)
        self.assertEqual(listeners(child.pid), [child])

    def test_nobody(self) -> None:
        """A process that is not there is an error, not a process without listeners."""
        child = subprocess.Popen([sys.executable, "-c", ""])
        child.wait()
        self.assertRaises(OSError, listeners, child.pid)
