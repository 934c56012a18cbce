"""What this process holds: the numbers that come back to where they were, if nothing leaks."""

from __future__ import annotations

import gc
import os
from collections.abc import Mapping
from pathlib import Path

from twisted.internet.interfaces import IReactorTime

_PROCESS = Path("/proc/self")


def census(clock: IReactorTime) -> Mapping[str, int]:
    """Count, after a collection of garbage, which takes some milliseconds.

    :returns: open descriptors, timers of the reactor, live objects that the collector knows (but for those of before we
        began to serve), and resident bytes.
    """
    gc.collect()
    pages = int((_PROCESS / "statm").read_text().split()[1])
    return {
        "descriptors": sum(1 for _ in (_PROCESS / "fd").iterdir()) - 1,  # one is that of the listing itself
        "timers": len(clock.getDelayedCalls()),
        "objects": len(gc.get_objects()),
        "resident_bytes": pages * os.sysconf("SC_PAGE_SIZE"),
    }
