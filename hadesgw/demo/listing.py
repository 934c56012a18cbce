"""The same small edit for agents that offer no tools and take whole files out of the answer, as Aider does.

Such an agent says in its prompt that a *file listing* is wanted: a line with the path, then the file between fences.
"""

from __future__ import annotations

import re
from typing import Final

from hadesgw.demo.answer import Answer
from hadesgw.demo.conversation import Conversation
from hadesgw.demo.editing import Edit, commented, new_file, wanted_edit

_ASKED: Final = re.compile(
    r"To suggest changes to a file you MUST return [^\n]*\n[^\n]*\*file listing\* format:\n", re.ASCII
)
_FENCE: Final = re.compile(r"^(`{3,4})[\w+-]*$", re.MULTILINE)
_MOST_SHOWN: Final = 64 << 10
"""Characters of a file that is edited at most: the rehearsal repeats all of it."""


def listing(conversation: Conversation) -> Answer | None:
    """The answer that edits by a file listing; None if that is not how answers are wanted."""
    if conversation.tools or not _ASKED.search(conversation.system + conversation.prompt):
        return None
    edit = wanted_edit(_ASKED.split(conversation.prompt, maxsplit=1)[0])
    if edit is None:
        return Answer(text="This is the rehearsal model: name a file and what to change, and I rehearse the edit.")
    shown = _shown(conversation, edit.path)
    text = new_file(edit) if not (shown or "").strip() else _edited(edit, shown or "")
    if text is None:
        return Answer(text=f"The rehearsal leaves {edit.path} as it is: it takes no comment, or is too long.")
    fence = "````" if "```" in text else "```"
    told = "This is the rehearsal model: the edit is real, the thinking is a script."
    return Answer(text=f"{told}\n\n{edit.path}\n{fence}\n{text}{fence}\n")


def _edited(edit: Edit, shown: str) -> str | None:
    """The file with a comment behind its first line; None if it cannot have one."""
    if edit.suffix == "json" or len(shown) > _MOST_SHOWN:
        return None
    first, _, rest = shown.partition("\n")
    return f"{first}\n{commented(edit)}\n{rest}"


def _shown(conversation: Conversation, path: str) -> str | None:
    """The file as the agent has shown it last, or None."""
    for message in reversed(conversation.messages):
        if message.role != "user":
            continue
        at = message.text.rfind(f"\n{path}\n```")
        if at < 0:
            continue
        rest = message.text[at + len(path) + 2 :]
        fence = _FENCE.match(rest)
        if fence is not None:
            body, ended, _ = rest[fence.end() + 1 :].partition(f"\n{fence[1]}\n")
            return body + "\n" if ended else None
    return None
