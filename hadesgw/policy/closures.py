"""Why the gateway ends a WebSocket: one catalogue, as `refusals` is for answers.

A closure is a value. Its code is one of RFC 6455 7.4.1 or of IANA's registry behind it; `reason` is the bounded word of
metrics and logs; `message` travels in the close frame, is for the person, and never repeats anything the client sent.
"""

from __future__ import annotations

import msgspec

from hadesgw.policy import refusals
from hadesgw.policy.refusals import Refusal


class Closure(msgspec.Struct, frozen=True):
    """One way of ending a WebSocket.

    :ivar code: status code of the close frame.
    :ivar reason: stable slug for the `reason` label and log field.
    :ivar message: one sentence of at most 123 bytes (RFC 6455 5.5).
    :ivar fault: whether something went wrong, so that it counts as an error.
    """

    code: int
    reason: str
    message: str
    fault: bool = True


GOING_AWAY = Closure(1001, "going_away", "The gateway is going away: connect again, and resume.", fault=False)
BAD_FRAME = Closure(1002, "bad_frame", "A frame breaks the WebSocket protocol.")
NOT_TEXT = Closure(1003, "not_text", "Messages are JSON in text frames; binary ones are not taken.")
NOT_UTF8 = Closure(1007, "not_utf8", "A message is not valid UTF-8.")
TOO_MANY_FRAMES = Closure(1008, "too_many_frames", "More frames came than this gateway takes in the time.")
NO_LONGER_ADMITTED = Closure(1008, "no_longer_admitted", "This client may not come in any more.")
MESSAGE_TOO_LARGE = Closure(1009, "message_too_large", "A message is larger than this gateway takes.")
INTERNAL = Closure(1011, "internal", "The gateway failed; its log tells why.")
NO_SIGN_OF_LIFE = Closure(1011, "no_sign_of_life", "A ping was not answered in time.")
TOO_SLOW = Closure(1013, "too_slow", "What was sent has not been taken in time: connect again, and resume.")
NO_MEMORY = Closure(1013, "no_memory", "The gateway is holding as many messages as it may. Try again shortly.")


def closure_of(refusal: Refusal) -> Closure:
    """How a WebSocket ends that has to end because of `refusal`."""
    return INTERNAL if refusal is refusals.INTERNAL else GOING_AWAY


def catalogue() -> dict[str, Closure]:
    """Every closure by its `reason`."""
    return {value.reason: value for value in globals().values() if isinstance(value, Closure)}
