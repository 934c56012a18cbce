"""The page in a browser, with the real Codex behind it: `webclient/e2e/codex.real.ts` is what a user does there."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import ClassVar

from twisted.trial.unittest import SynchronousTestCase

from tests.real.clients.environment import CLIENTS, CODEX, cache_folder
from tests.real.gateway import PROJECT

PAGE = PROJECT / "hadesgw" / "webclient_dist" / "index.html"
PLAYWRIGHT = PROJECT / "webclient" / "node_modules" / ".bin" / "playwright"
CONFIGURATION = PROJECT / "webclient" / "e2e" / "playwright.config.ts"
SECONDS = 600.0
_SHOWN = 8_000


class PageTests(SynchronousTestCase):
    """One browser, one gateway, one repository."""

    needed: ClassVar[tuple[tuple[Path, str], ...]] = (
        (PAGE, "the web client is not built: make webclient"),
        (PLAYWRIGHT, "the web client's tools are not installed: make webclient"),
    )

    def test_page(self) -> None:
        """A session is started there; the agent edits by leave, is refused, is interrupted; a reload shows it again."""
        kit = CLIENTS.kit(CODEX)
        chromium = os.environ.get("CHROMIUM") or CLIENTS.program("chromium")
        CLIENTS.program("git")
        for path, problem in self.needed:
            if not path.exists():
                raise CLIENTS.absence(path.name, problem)
        environment = {
            **os.environ,
            "CHROMIUM": str(chromium),
            "HADESGW_PYTHON": sys.executable,
            "HADESGW_CODEX": str(kit.codex),
            "HADESGW_STATE": str(cache_folder(CODEX).parent),
        }
        command: list[str | Path] = [PLAYWRIGHT, "test", "--config", CONFIGURATION, "--project=real", "--reporter=line"]
        done = subprocess.run(
            command,
            check=False,
            env=environment,
            cwd=PROJECT / "webclient",
            capture_output=True,
            text=True,
            timeout=SECONDS,
        )
        told = (done.stdout + done.stderr)[-_SHOWN:]
        self.assertEqual(done.returncode, 0, told)
        self.assertIn("1 passed", told)
