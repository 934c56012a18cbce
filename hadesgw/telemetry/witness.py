"""What the site sees, told to the meters and to the log."""

from __future__ import annotations

from zope.interface import implementer

from hadesgw.interfaces import ISiteObserver
from hadesgw.policy.refusals import Refusal
from hadesgw.telemetry.log import Log
from hadesgw.telemetry.meters import Meters


@implementer(ISiteObserver)
class Witness:
    """Joins a gateway's meters and log; see :class:`ISiteObserver` for what each method is told."""

    def __init__(self, meters: Meters, log: Log) -> None:
        self._log = log
        self.connections = meters.connections
        self.ids_replaced = meters.ids_replaced
        self._meters = meters

    def refused_early(self, refusal: Refusal, request_id: bytes, session_id: bytes) -> None:
        """Count it, and write its line: there is no `metered` layer where it happened."""
        self._meters.refused_early(refusal, request_id, session_id)
        self._log.refused_early(refusal, request_id, session_id)

    def correlation_missing(self) -> None:
        """Count the defect, and say so loudly."""
        self._meters.correlation_missing()
        self._log.event("correlation_missing", level="error")
