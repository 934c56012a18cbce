"""Whether C is 0, told to everybody who asks: the gauge, the log, and `/readyz`."""

from __future__ import annotations

from collections.abc import Sequence

from hadesgw.interfaces import IRequestLog
from hadesgw.telemetry.meters import Meters

MISSING = "missing_correlation"
"""The reason when an answer was about to leave without its ids: a defect, and from then on nothing can be relied on."""


class Conveyance:
    """What is known of it in this process.

    :param standing: why it is 0 by the configuration; see :func:`hadesgw.policy.conveyance.zero_propagation`.
    :ivar reasons: why it is 0 now; none if it is not.
    """

    def __init__(self, standing: Sequence[str], meters: Meters, log: IRequestLog) -> None:
        self.reasons = list(standing)
        self._meters = meters
        self._log = log
        meters.zero_propagation(bool(self.reasons))

    def announce(self) -> None:
        """Say in the log that it is 0, if it is."""
        if self.reasons:
            self._log.event("zero_propagation", level="warn", reasons=self.reasons)

    def headers_missing(self) -> None:
        """An answer was about to leave without its ids."""
        if MISSING not in self.reasons:
            self.reasons.append(MISSING)
            self._meters.zero_propagation(True)
            self.announce()
