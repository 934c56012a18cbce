"""What a session wants done, as values: whoever conducts it does these things in the order in which they are given."""

from __future__ import annotations

from dataclasses import dataclass

from hadesgw.sessions.commands import Command
from hadesgw.sessions.engine import Decision
from hadesgw.sessions.messages import Message


@dataclass(frozen=True, slots=True)
class Tell:
    """Give this message to everybody who watches."""

    message: Message


@dataclass(frozen=True, slots=True)
class Begin:
    """Launch an agent; then call :meth:`Session.launched` or :meth:`Session.launch_failed`."""

    resume: str | None


@dataclass(frozen=True, slots=True)
class Say:
    """Give the agent an input. A turn is taken to run from here on."""

    text: str


@dataclass(frozen=True, slots=True)
class Steer:
    """Give the running turn an input."""

    text: str


@dataclass(frozen=True, slots=True)
class Interrupt:
    """End the running turn."""


@dataclass(frozen=True, slots=True)
class Decide:
    """Answer the agent's request for approval."""

    approval_id: str
    decision: Decision


@dataclass(frozen=True, slots=True)
class Carry:
    """Carry a slash command out; then call :meth:`Session.carried`."""

    command: Command


@dataclass(frozen=True, slots=True)
class End:
    """Stop the agent, or its launch; then :meth:`Session.agent_ended` or :meth:`Session.launch_failed` is called."""


@dataclass(frozen=True, slots=True)
class TurnOver:
    """A turn has ended: a good moment to look at what it did to the workspace."""

    turn_id: str
    status: str


Effect = Tell | Begin | Say | Steer | Interrupt | Decide | Carry | End | TurnOver
Effects = list[Effect]
