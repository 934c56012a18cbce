"""What a dead process leaves behind where the next one wants to listen."""

from __future__ import annotations

import socket
import stat
from pathlib import Path


def clear(path: Path) -> None:
    """Remove the socket of a dead process; a live one, or another file, is left to make listening fail."""
    try:
        if not stat.S_ISSOCK(path.stat().st_mode):
            return
        with socket.socket(socket.AF_UNIX) as probe:
            probe.connect(str(path))
    except ConnectionRefusedError:
        path.unlink(missing_ok=True)
    except OSError:
        return
