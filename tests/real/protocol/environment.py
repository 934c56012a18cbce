"""Foreign clients of coding sessions: `websockets` and schemathesis, 70 MB."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.real.kits import Kit, main

CLIENTS = Kit("protocol", Path(__file__).with_name("requirements.txt"))

if __name__ == "__main__":
    sys.exit(main(CLIENTS))
