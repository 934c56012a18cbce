"""Whether a request's tokens fit: decided by bounds where they suffice, so that only the close cases need counting.

Nothing is known here of the model: neither its vocabulary nor the template that makes one text of a conversation. So a
bound rests only on what holds of all of them:

- A tokenizer makes at most one token of each byte of its text, which it may have normalized before (by NFKC at the
  most, which makes 33 bytes of some characters of three). :func:`weight` is never less than those bytes.
- A template shows everything once, or twice, and adds words of its own: system prompts that vendors put into theirs
  take up to about 1,500 tokens.
- No vocabulary in use has a token longer than 128 characters.
"""

from __future__ import annotations

import math

from msgspec import Struct

from hadesgw.policy.allowance import BYTES_PER_TOKEN
from hadesgw.policy.conversation import certain_characters, is_plain, media
from hadesgw.policy.request_body import Asked

TEMPLATE_TOKENS = 2048
"""What a template may add to a prompt by itself."""
TIMES_SHOWN = 2
"""How often a template may say the same."""
LONGEST_TOKEN = 128
"""Characters that one token stands for at the most."""
MEDIUM_TOKENS = 1024
"""What a picture, sound or file is taken for where nobody counts: about a page of text."""


class Budget(Struct, frozen=True):
    """How many tokens a request may have.

    :ivar context_tokens: prompt and asked output together.
    :ivar output_tokens: the output alone; also what a request gets that asks for none.
    """

    context_tokens: int
    output_tokens: int


class Verdict(Struct, frozen=True, gc=False):
    """What was found about one request.

    :ivar fits: None: it must be counted.
    :ivar prompt: tokens of the (longest) prompt, as far as they are known; None where nobody has looked.
    :ivar output: tokens of output that are asked for.
    :ivar how: "exact", "estimate", or "bound": the prompt has at least so many.
    """

    fits: bool | None
    output: int
    prompt: int | None = None
    how: str = "exact"


def judge(asked: Asked, body: bytes, budget: Budget) -> Verdict:
    """Whether the request fits, if that is clear without counting.

    Of several prompts each has the whole context, and so has each of several answers: a model server works on them as
    on so many requests.

    :param body: what `asked` was read from.
    """
    output = budget.output_tokens if asked.output is None else asked.output
    room = budget.context_tokens - output
    if output > budget.output_tokens or room < 1:
        return Verdict(False, output)
    if asked.prompts:
        tokens = [prompt for prompt in asked.prompts if isinstance(prompt, int)]
        if tokens:
            return Verdict(max(tokens) <= room, output, max(tokens))
    if _most(asked, body, room) <= room:
        return Verdict(True, output)
    least = _least(asked, body, room)
    return Verdict(False, output, least, "bound") if least > room else Verdict(None, output)


def counted(prompt: int, output: int, budget: Budget, how: str = "exact") -> Verdict:
    """Whether it fits, now that somebody has counted the prompt's tokens."""
    return Verdict(prompt + output <= budget.context_tokens, output, prompt, how)


def prompt_estimate(asked: Asked, body: bytes) -> int:
    """Tokens of the prompt by rule of thumb: a token for so many bytes, and as many for each picture, long or short."""
    found = [medium.characters for talk in asked.talk for medium in media(talk)]
    return -(-(len(body) - sum(found)) // BYTES_PER_TOKEN) + MEDIUM_TOKENS * len(found)


def told(verdict: Verdict, budget: Budget) -> bytes:
    """The verdict in the form of a header field's value."""
    prompt = "" if verdict.prompt is None else f"prompt={verdict.prompt}; counted={verdict.how}; "
    allowed = f"context_tokens={budget.context_tokens}; output_tokens={budget.output_tokens}"
    return f"{prompt}output={verdict.output}; {allowed}".encode("ascii")


# -- Bounds ------------------------------------------------------------------------------------------------------------

_REWRITTEN = frozenset(
    (
        "chat_template",
        "chat_template_kwargs",
        "documents",
        "functions",
        "media_io_kwargs",
        "mm_processor_kwargs",
        "previous_input_messages",
        "previous_response_id",
        "prompt",
        "prompt_embeds",
        "response_format",
        "tools",
    )
)
"""Members of a conversation's request that are no text when they get into the prompt, or bring one that is not here."""
_NOTHING = (b"null", b"[]", b"{}")


def weight(size: int, characters: int, escapes: int) -> int:
    """The bytes a JSON text can become at the most once its escapes are resolved and it is normalized.

    A character that UTF-8 writes in `n` bytes becomes no more than `16 n - 15` of them: 1, 17, 33, 49 for `n` from 1 to
    4. An escape has six bytes (RFC 8259 7) and may stand for 33.

    :param size: bytes.
    :param characters: of the same text.
    :param escapes: how often it has a backslash before a `u`.
    """
    return characters + 16 * (size - characters) + 27 * escapes


def _most(asked: Asked, body: bytes, enough: int) -> float:
    """No prompt of this request has more tokens; infinite where there is no such bound, or it is known to exceed
    `enough`."""
    if TIMES_SHOWN * asked.characters + TEMPLATE_TOKENS > enough or not _is_text(asked):
        return math.inf
    escapes = len(body) // 6  # as many as there could be: looking for them costs more than all the rest
    most = TIMES_SHOWN * weight(len(body), asked.characters, escapes) + TEMPLATE_TOKENS
    if most > enough:
        most = TIMES_SHOWN * weight(len(body), asked.characters, body.count(b"\\u")) + TEMPLATE_TOKENS
    return most


def _is_text(asked: Asked) -> bool:
    if asked.route.prompt:
        return "prompt_embeds" not in asked.members
    members = asked.members
    if not _REWRITTEN.isdisjoint(members) and any(
        bytes(members[name]) not in _NOTHING for name in _REWRITTEN & {*members}
    ):
        return False
    return all(map(is_plain, asked.talk))


def _least(asked: Asked, body: bytes, enough: int) -> int:
    """The longest prompt of this request has no fewer tokens; looked for only where it might exceed `enough`."""
    if len(body) <= LONGEST_TOKEN * enough:
        return 0
    longest = max([len(prompt) for prompt in asked.prompts if isinstance(prompt, str)], default=0)
    return -(-(longest + sum(map(certain_characters, asked.talk))) // LONGEST_TOKEN)
