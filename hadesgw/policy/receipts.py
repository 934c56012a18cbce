"""What has been received already, by keys that clients give: so that saying it again, after a break, does no harm."""

from __future__ import annotations

MOST_PER_CLIENT = 256
"""Keys that are remembered of one client, the latest ones: far more than a client can have in doubt after a break."""


class Receipts:
    """Remembers for each client what the things it has sent have led to, by their keys."""

    def __init__(self) -> None:
        self._of: dict[str, dict[str, str]] = {}

    def get(self, client: str, key: str | None) -> str | None:
        """What the thing of that key has led to; None if it has not been received, or has none."""
        return None if key is None else self._of.get(client, {}).get(key)

    def put(self, client: str, key: str | None, outcome: str) -> None:
        """Remember it; without a key nothing is."""
        if key is None:
            return
        known = self._of.setdefault(client, {})
        known[key] = outcome
        if len(known) > MOST_PER_CLIENT:
            del known[next(iter(known))]
