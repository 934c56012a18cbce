"""sslyze, 60 MB.  It wants an older `cryptography` than we do."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.real.kits import Kit, main

# There is no wheel of sslyze itself; it is made here, by setuptools.
SSLYZE = Kit("sslyze", Path(__file__).with_name("requirements.txt"), ("--no-binary=sslyze",))

if __name__ == "__main__":
    sys.exit(main(SSLYZE))
