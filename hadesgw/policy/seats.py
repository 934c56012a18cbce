"""How many connections each client keeps open at one time that have no end of their own: WebSockets, event streams."""

from __future__ import annotations


class Seats:
    """Counts what is taken, by client.

    :param most: that one client may have.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._taken: dict[str, int] = {}

    def __len__(self) -> int:
        """How many clients have one."""
        return len(self._taken)

    def take(self, client: str) -> bool:
        """Take one more; False if that would be too many."""
        taken = self._taken.get(client, 0)
        if taken >= self._most:
            return False
        self._taken[client] = taken + 1
        return True

    def give_back(self, client: str) -> None:
        """Give one back that was taken."""
        self._taken[client] -= 1
        if not self._taken[client]:
            del self._taken[client]
