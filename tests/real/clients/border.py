"""A proxy that lets nothing through: the witness of what wanted to leave the machine."""

from __future__ import annotations

import contextlib
import socket
import threading
from types import TracebackType

LOOPBACK = "127.0.0.1,localhost"


class Border:
    """Listens on loopback and turns everyone back.

    A client that has :attr:`environment` goes straight to loopback and asks here for the way to anywhere else.
    """

    def __init__(self) -> None:
        self.crossings: list[str] = []
        """The request lines of those that were turned back."""
        self.listener = socket.socket()

    def __enter__(self) -> Border:
        self.listener.bind(("127.0.0.1", 0))
        self.listener.listen(64)
        threading.Thread(target=self._turn_back, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.listener.shutdown(socket.SHUT_RDWR)  # wakes accept(), as close() does not
        self.listener.close()

    @property
    def environment(self) -> dict[str, str]:
        """Variables that send a client here, in both spellings that clients read."""
        url = "http://{}:{}".format(*self.listener.getsockname())
        variables = {"HTTP_PROXY": url, "HTTPS_PROXY": url, "ALL_PROXY": url, "NO_PROXY": LOOPBACK}
        return {**variables, **{name.lower(): value for name, value in variables.items()}}

    def _turn_back(self) -> None:
        while True:
            try:
                visitor, _ = self.listener.accept()
            except OSError:
                return
            with visitor, contextlib.suppress(OSError):
                visitor.settimeout(5)
                line = visitor.recv(4096).partition(b"\r\n")[0].decode("latin-1")
                if line:  # a connection without a word is no attempt to get anywhere
                    self.crossings.append(line)
