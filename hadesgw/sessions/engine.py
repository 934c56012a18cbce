"""What a coding session and the engine that does its work agree on.

An engine starts an *agent* for a session: a process of its own, or for the rehearsal a player in this one. The agent
tells of its work by events, in the order in which they happened; the session numbers, keeps and distributes them.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zope.interface import Attribute, Interface

if TYPE_CHECKING:  # the session's state machine, which knows no reactor, takes the events from here
    from twisted.internet.defer import Deferred


@dataclass(frozen=True, slots=True)
class Launch:
    """Everything an engine needs to know to start an agent.

    :ivar session_id: of the session; it is the Conveyance session of every model call the agent makes.
    :ivar workspace: the directory the agent works in, absolute and resolved.
    :ivar model: the name of the model to ask for.
    :ivar approval: when the agent has to ask: `untrusted`, `on-request` or `never`.
    :ivar sandbox: `read-only` or `workspace-write`.
    :ivar base_url: of this gateway's own loopback listener with `/v1`, where the agent's model calls go.
    :ivar token: admits those calls, and no others, for as long as the session lives. Never on a command line.
    :ivar session_header: name of the Conveyance header.
    :ivar context_tokens: the most that prompt and answer may have together.
    :ivar output_tokens: the most that an answer may have.
    :ivar resume: what an earlier agent of the session called the conversation (:attr:`IAgent.thread_id`), or None.
    """

    session_id: str
    workspace: Path
    model: str
    approval: str
    sandbox: str
    base_url: str
    token: str
    session_header: str
    context_tokens: int
    output_tokens: int
    resume: str | None = None

    def __repr__(self) -> str:
        """Without the token, so that no log can have it."""
        return f"<Launch of {self.session_id}>"


class Decision(enum.Enum):
    """An answer to a request for approval."""

    ACCEPT = "accept"
    ACCEPT_FOR_SESSION = "accept_for_session"
    DECLINE = "decline"
    CANCEL = "cancel"
    """Decline, and end the turn."""


class EngineFailure(Exception):
    """An agent could not be started, or refused what was asked of it; the text is one line for the user."""


# -- What an agent tells -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Output:
    """A piece of what the agent says. The pieces of a turn, joined, are its reply."""

    text: str


@dataclass(frozen=True, slots=True)
class Warned:
    """Something the user should know and the agent goes on after."""

    text: str


@dataclass(frozen=True, slots=True)
class Failed:
    """Something went wrong; a turn that runs ends by its own event."""

    text: str


@dataclass(frozen=True, slots=True)
class TurnBegan:
    """The agent has taken up an input."""

    turn_id: str


@dataclass(frozen=True, slots=True)
class TurnEnded:
    """The agent waits for input again.

    :ivar status: `completed`, `interrupted` or `failed`.
    """

    turn_id: str
    status: str


@dataclass(frozen=True, slots=True)
class Item:
    """A step of a turn: a message, reasoning, a command, a file change, a tool call.

    :ivar phase: `started`, `delta` or `completed`; what is told at the end is authoritative.
    :ivar kind: `message`, `reasoning`, `command`, `file_change`, `tool_call` or `other`.
    :ivar body: what the kind has to tell, as JSON values; for a delta `{"text": ...}`.
    """

    phase: str
    item_id: str
    kind: str
    body: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Diff:
    """The unified diff of everything the running turn has changed so far."""

    text: str


@dataclass(frozen=True, slots=True)
class Plan:
    """The agent's plan: steps with `step` and `status` (`pending`, `in_progress` or `completed`)."""

    steps: Sequence[Mapping[str, str]]


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens used by the conversation so far, and the context's size if the agent knows it."""

    input_tokens: int
    cached_input_tokens: int
    output_tokens: int
    total_tokens: int
    context_tokens: int | None


@dataclass(frozen=True, slots=True)
class ApprovalAsked:
    """The agent waits for a decision.

    :ivar kind: `command` or `file_change`.
    :ivar body: what is to be approved, as JSON values: for a command its text, directory and reason.
    :ivar decisions: what may be answered.
    """

    approval_id: str
    kind: str
    body: Mapping[str, Any]
    decisions: tuple[Decision, ...]


@dataclass(frozen=True, slots=True)
class ApprovalSettled:
    """A request for approval needs no answer any more, whoever gave it."""

    approval_id: str


@dataclass(frozen=True, slots=True)
class FilesTouched:
    """The agent has read or changed these files, so they are active: paths relative to the workspace."""

    paths: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class FilesActive:
    """These files are active now, and no others: paths relative to the workspace."""

    paths: tuple[str, ...]


AgentEvent = (
    Output
    | Warned
    | Failed
    | TurnBegan
    | TurnEnded
    | Item
    | Diff
    | Plan
    | Usage
    | ApprovalAsked
    | ApprovalSettled
    | FilesTouched
    | FilesActive
)


# -- The seams ---------------------------------------------------------------------------------------------------------


class IAgentObserver(Interface):
    """Told what an agent does; provided by a session."""

    def happened(event: AgentEvent) -> None:
        """The agent tells of its work."""

    def ended(reason: str | None) -> None:
        """The agent is gone and nothing of it is left: by :meth:`IAgent.stop` (None), or of itself (one line)."""


class IAgent(Interface):
    """An agent that has been started for one session."""

    thread_id = Attribute("What the agent calls the conversation, to resume it by (str), or None if it cannot.")

    def say(text: str) -> None:
        """Begin a turn with this input; only when none runs."""

    def steer(text: str) -> None:
        """Give the running turn further input."""

    def interrupt() -> None:
        """End the running turn soon; it ends by its event."""

    def decide(approval_id: str, decision: Decision) -> None:
        """Answer a request for approval; one that is settled already is ignored."""

    def stop() -> Deferred[None]:
        """End the agent with all its processes; fires when none is left. May be called more than once."""


class IEngine(Interface):
    """A way of doing coding work."""

    name = Attribute("Its name in the configuration (str).")
    claims = Attribute("Slash commands it takes itself, in place of the session's, without the slash (frozenset[str]).")

    def obstacle() -> str | None:
        """Why no agent can be started here, as one line that says what to do about it; None when one can."""

    def launch(launch: Launch, observer: Any) -> Deferred[Any]:
        """Start an agent.

        :param observer: an :class:`IAgentObserver` provider; it may be told things before this fires.
        :returns: fires with an :class:`IAgent` provider when it waits for input; fails with :class:`EngineFailure`, and
            then nothing is left running. Cancelling it ends what has been started.
        """

    def close() -> None:
        """Let go of what it holds outside of this process; no agent of it runs any more."""
