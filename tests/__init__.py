"""Everything that shows that hadesgw does what it says.

Hypothesis has three profiles, chosen by `HYPOTHESIS_PROFILE`: `default` is the same in every run, so that a
failure is the change's and not the day's; `brief` is for a second look at what was tested already; `search`
draws anew each time.
"""

from __future__ import annotations

import os

from hypothesis import settings

# No deadline: a busy machine would be taken for a slow one. No database: no run hangs on the runs before it.
settings.register_profile("default", derandomize=True, deadline=None, database=None)
settings.register_profile("brief", settings.get_profile("default"), max_examples=20)
settings.register_profile("search", deadline=None, database=None, max_examples=2000, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))
