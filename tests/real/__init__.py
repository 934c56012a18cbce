"""Tests against real programs: the gateway as a `twistd` child, real servers behind it, real clients before
it.

They start processes and end only those.  What they need beyond the project's own dependencies is looked for,
never assumed: where it is missing they are skipped with the reason, or fail if `HADESGW_REQUIRE_REAL=1` is
set.
"""
