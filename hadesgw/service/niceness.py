"""What lets processes of sessions stand back for the gateway where both want the CPUs: nice(1)."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence


def nice_command(niceness: int) -> tuple[str, ...]:
    """What a command line begins with so that its program, and all that this starts, is nicer than we are.

    :param niceness: by how much, 0 to 19.
    :returns: the words; none where there is nothing to be done, no such program, or the system does not let it.
    """
    program = shutil.which("nice")
    if niceness == 0 or program is None:
        return ()
    words = (program, "-n", str(niceness))
    return words if _works([*words, program]) else ()


def _works(command: Sequence[str]) -> bool:
    """Whether it does without a word of complaint, which would be mixed with those of what it is put before."""
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    return done.returncode == 0 and not done.stderr
