"""What lets processes of sessions stand back for the gateway where both want the CPUs: nice(1)."""

from __future__ import annotations

import shutil


def nice_command(niceness: int) -> tuple[str, ...]:
    """What a command line begins with so that its program, and all that this starts, is nicer than we are.

    :param niceness: by how much, 0 to 19.
    :returns: the words; none where there is nothing to be done, or no such program.
    """
    program = shutil.which("nice")
    return () if niceness == 0 or program is None else (program, "-n", str(niceness))
