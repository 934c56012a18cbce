"""A scratch workspace for the demo's coding sessions: a small git repository that nobody will miss."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

_FILES = {
    "README.md": "# A scratch workspace\n\nAsk for an edit, such as: add a docstring to calc.py\n",
    "calc.py": "def add(a, b):\n    return a + b\n\n\ndef divide(a, b):\n    return a / b\n",
    "tests/test_calc.py": "from calc import add\n\n\ndef test_add():\n    assert add(2, 3) == 5\n",
}
_COMMANDS = (
    ("init", "--quiet", "--initial-branch=main", "--template="),
    ("add", "--all"),
    ("commit", "--quiet", "--message=Begin"),
)
_GIT_SECONDS = 10
_IDENTITY = ("-c", "user.name=demo", "-c", "user.email=demo@localhost", "-c", "commit.gpgSign=false")


def furnish(folder: Path) -> Path:
    """Make the workspace; where there is no git it is just a folder.

    :param folder: where it is made; must not be there.
    :returns: the folder.
    """
    for name, text in _FILES.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    git = shutil.which("git")
    if git is not None:
        environment = {"PATH": "/usr/bin:/bin", "HOME": "/nonexistent", "GIT_CONFIG_NOSYSTEM": "1", "LC_ALL": "C.UTF-8"}
        for command in _COMMANDS:
            subprocess.run(
                [git, *_IDENTITY, *command],
                cwd=folder,
                env=environment,
                check=False,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=_GIT_SECONDS,
            )
    return folder
