"""What a session tells its clients: the integration guide's messages, and ours beside them.

Every message is a JSON object with `type` and `content`, and with `seq`, which rises by one from message to message
of a session. The guide's types keep the guide's contents:

=================  =====================================================================================================
`session_status`   object: `active` (bool), `session_id` (str), `timestamp` (Unix seconds); ours: `state`, `workspace`,
                   `engine`, `model`, `thread_id` (str or null), `reason` (str or null: why it is not active)
`output`           str: a piece of what the agent says, or the whole of what a slash command has to show
`error`            str
`warning`          str
`active_files`     array of str: all of them, sorted, relative to the workspace; at every change, also when empty
`input_request`    object: `prompt` (str); a turn or a slash command is over
`input_received`   object: `text` (str), `timestamp`; ours: `queued` (int: inputs waiting, this one too), `steer` (bool)
=================  =====================================================================================================

Ours are additive; a client of the guide passes over them:

====================  ==================================================================================================
`turn`                object: `turn_id`, `phase` (`began` or `ended`), `status` (null, or `completed`, `interrupted`,
                      `failed`)
`item`                object: `turn_id`, `item_id`, `phase` (`started`, `delta`, `completed`), `kind`, `body` (object)
`diff`                object: `turn_id`, `diff` (str: all the turn has changed so far), `truncated` (bool)
`plan`                object: `turn_id`, `steps` (array of `{step, status}`)
`token_usage`         object: `input_tokens`, `cached_input_tokens`, `output_tokens`, `total_tokens`, `context_tokens`
`approval_request`    object: `approval_id`, `turn_id`, `kind`, `body`, `decisions` (array of str), `expires` (Unix
                      seconds)
`approval`            object: `approval_id`, `decision` (str or null), `by` (`user`, `timeout`, `nobody` or `agent`)
`gap`                 object: `after`, `next` (seqs: what lies between is not kept any more); answers a resumption only
====================  ==================================================================================================

`pong` is of a socket, not of a session, and has neither `seq` nor `content`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

_SHORT = 512
"""Characters that are left of each text in an object that is too long as a whole."""


@dataclass(frozen=True, slots=True)
class Message:
    """One message to every client of a session.

    :ivar seq: its place among the session's messages, from 1.
    :ivar content: JSON values.
    :ivar encoded: the whole message as JSON, as it goes over a socket or into an event stream; it has no line break.
    """

    seq: int
    type: str
    content: Any = field(repr=False)
    encoded: bytes = field(repr=False)

    @classmethod
    def of(cls, seq: int, kind: str, content: Any) -> Message:
        """The message of that type, with that content."""
        return cls(seq, kind, content, msgspec.json.encode({"type": kind, "content": content, "seq": seq}))


def pieces(text: str, characters: int) -> list[str]:
    """A text in parts of at most so many characters, which joined give it again."""
    return [text[start : start + characters] for start in range(0, len(text), characters)]


def bounded(body: Mapping[str, Any], size: int) -> dict[str, Any]:
    """An object that encodes to at most `size` bytes of JSON, or nearly: itself, or as much of it as one can tell.

    When it is longer all its texts are cut short; when that does not help nothing of it is left. `truncated` then says
    so.
    """
    if len(msgspec.json.encode(body)) <= size:
        return dict(body)
    cut = {key: _cut(value) for key, value in body.items()}
    if len(msgspec.json.encode(cut)) > size:
        cut = {}
    return {**cut, "truncated": True}


def _cut(value: Any) -> Any:
    if isinstance(value, str):
        return value[:_SHORT]
    if isinstance(value, Mapping):
        return {key: _cut(inner) for key, inner in value.items()}
    if isinstance(value, Sequence):
        return [_cut(inner) for inner in value]
    return value
