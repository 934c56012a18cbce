"""A user's side of a coding session: what the agent told, and waiting for it to tell something."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from zope.interface import implementer

from hadesgw.sessions.engine import AgentEvent, Diff, IAgentObserver, Item, Output, TurnEnded

SECONDS = 30.0
"""What is waited for comes within one; a loaded machine may need several times that."""

Kind = TypeVar("Kind")


@implementer(IAgentObserver)
class Notes:
    """All that an agent has told, in order.

    :param clock: provides IReactorTime.
    """

    def __init__(self, clock: Any) -> None:
        self._clock = clock
        self.events: list[AgentEvent] = []
        self.ends: list[str | None] = []
        self._waiting: list[tuple[Callable[[], Any], Deferred[Any]]] = []
        self._reactions: list[tuple[type[Any], Callable[[Any], object]]] = []

    def happened(self, event: AgentEvent) -> None:
        self.events.append(event)
        for kind, react in self._reactions:
            if isinstance(event, kind):
                react(event)
        self._look()

    def ended(self, reason: str | None) -> None:
        self.ends.append(reason)
        self._look()

    def on(self, kind: type[Kind], react: Callable[[Kind], object]) -> None:
        """Do this whenever such an event is told."""
        self._reactions.append((kind, react))

    def of(self, kind: type[Kind]) -> list[Kind]:
        """The events of a kind."""
        return [event for event in self.events if isinstance(event, kind)]

    def items(self, kind: str, phase: str = "completed") -> list[Item]:
        return [item for item in self.of(Item) if (item.kind, item.phase) == (kind, phase)]

    def said(self) -> str:
        return "".join(output.text for output in self.of(Output))

    def diff(self) -> str:
        """The newest one."""
        return self.of(Diff)[-1].text if self.of(Diff) else ""

    def until(self, look: Callable[[], Any]) -> Deferred[Any]:
        """Fires with the first true value that `look` answers; fails when nothing true came in time."""
        found: Deferred[Any] = Deferred()
        self._waiting.append((look, found))
        found.addTimeout(SECONDS, self._clock, onTimeoutCancel=self._never)
        self._look()
        return found

    def event(self, kind: type[Kind]) -> Deferred[Kind]:
        """Fires with the first event of a kind that is told from now on."""
        begun = len(self.of(kind))
        return self.until(lambda: self.of(kind)[begun:][:1] or None).addCallback(lambda found: found[0])

    def end(self) -> Deferred[Any]:
        """Fires when the agent is gone."""
        return self.until(lambda: self.ends)

    def turn_ended(self) -> Deferred[TurnEnded]:
        return self.event(TurnEnded)

    def _look(self) -> None:
        for waiting in list(self._waiting):
            look, found = waiting
            value = look()
            if value and waiting in self._waiting:
                self._waiting.remove(waiting)
                found.callback(value)

    def _never(self, _: object, seconds: float) -> None:
        told = "\n".join(str(event)[:300] for event in self.events[-30:])
        raise AssertionError(f"not within {seconds:g} s; the agent told, at last:\n{told}\nends: {self.ends}")
