"""What coding sessions answer by HTTP, as types: the answers are made of them, and the OpenAPI document too.

What carries out an order answers with the integration guide's `status` and `message`; what only shows something answers
with that thing.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from hadesgw.sessions.views import Commit, Reverted


class Done(Struct, kw_only=True, omit_defaults=True):
    """An order was carried out, or there was nothing to be done."""

    status: Annotated[Literal["success", "warning"], Meta(description="warning: there was nothing to be done.")]
    message: str
    session_id: str | UnsetType = UNSET


class Committed(Done, kw_only=True):
    """A commit was made."""

    commit: Commit


class TakenBack(Done, kw_only=True):
    """A turn was taken back."""

    reverted: Reverted


class Failed(Struct, kw_only=True, omit_defaults=True):
    """Why something was not done."""

    status: Literal["error"]
    message: Annotated[str, Meta(description="One line for a person.")]
    code: Annotated[str | UnsetType, Meta(description="A word for a program.")] = UNSET


class Availability(Struct, kw_only=True):
    """Whether coding sessions are to be had, and what the client has: the guide's five fields, and ours."""

    status: Literal["active"]
    name: str
    description: str
    input_destination: str
    session_active: bool
    session_id: Annotated[str | None, Meta(description="Of the client's default session.")]
    obstacle: Annotated[str | None, Meta(description="Why no session can be started here, and what to do about it.")]
    engine: Annotated[str, Meta(description="The one that is meant when none is named.")]
    engines: list[str]
    workspace: Annotated[str | None, Meta(description="Likewise.")]
    workspaces: list[str]
    sessions: Annotated[int, Meta(description="How many sessions the client has.")]
    version: str


class ApprovalFacts(Struct, kw_only=True):
    """A request for approval that waits."""

    approval_id: str
    turn_id: str | None
    kind: Annotated[str, Meta(description="command or file_change.")]
    body: dict[str, Any]
    decisions: list[str]
    expires: Annotated[float, Meta(description="Unix seconds; declined then.")]


class SessionFacts(Struct, kw_only=True):
    """All there is to know of a session at this moment."""

    active: bool
    session_id: str
    timestamp: Annotated[float, Meta(description="Unix seconds.")]
    state: Annotated[
        Literal["idle", "starting", "ready", "in_turn", "waiting_for_approval", "stopping", "gone"],
        Meta(description="Where it is in its life."),
    ]
    workspace: str
    engine: str
    model: str
    thread_id: str | None
    reason: Annotated[str | None, Meta(description="Why it has ended.")]
    created: Annotated[float, Meta(description="Unix seconds.")]
    idle_seconds: float
    turn_id: str | None
    turns: Annotated[int, Meta(description="That have begun.")]
    queued: Annotated[int, Meta(description="Inputs that wait.")]
    active_files: list[str]
    approvals: list[ApprovalFacts]
    plan: dict[str, Any] | None
    token_usage: dict[str, Any] | None
    seq: Annotated[int, Meta(description="Of the last message told.")]
    default: Annotated[bool, Meta(description="Whether it is the client's default session.")]


class Sessions(Struct):
    """A client's sessions, oldest first."""

    sessions: list[SessionFacts]


class Approvals(Struct):
    """What waits for an answer."""

    approvals: list[ApprovalFacts]


class Log(Struct):
    """The last commits, newest first."""

    commits: list[Commit]


class Branches(Struct):
    """Names of the local branches."""

    branches: list[str]
