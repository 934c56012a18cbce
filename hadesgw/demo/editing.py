"""The small edit a coding agent is led through: look, patch, check, report; one step a request.

The agent sends its whole history every time, so the step is simply the number of results it already has.
Codex is known by the name and form of its shell tool, and so are its relatives; a patch goes through
``apply_patch``, which Codex understands inside a shell command too.
"""

from __future__ import annotations

import html
import json
import re
import shlex
from typing import Final

import msgspec

from hadesgw.demo.answer import Answer
from hadesgw.demo.conversation import Call, Conversation, Tool

_SHELLS: Final = (
    "exec_command",
    "shell_command",
    "shell",
    "container.exec",
    "local_shell",
    "bash",
    "Bash",
    "run_command",
)
_EDITS: Final = re.compile(
    r"\b(?:create|write|make|add|generate|build|edit|change|fix|update|append|modify|improve|document|comment)\b",
    re.IGNORECASE,
)
_SUFFIXES: Final = "py|js|mjs|ts|tsx|jsx|sh|md|txt|html|css|json|toml|yaml|yml|c|h|cc|cpp|rs|go|java|rb|php|sql|ini|cfg"
# Segments begin with a letter or digit: not absolute, no "..", nothing hidden, nothing a shell would read.
_PATH: Final = re.compile(
    rf"(?<![\w./-])((?:[A-Za-z0-9_][\w-]*/){{0,8}}[A-Za-z0-9_][\w-]*(?:\.[\w-]+)*\.(?:{_SUFFIXES}))(?![\w/])",
    re.ASCII,
)
_LANGUAGES: Final = {
    "python": "hello.py",
    "javascript": "hello.js",
    "typescript": "hello.ts",
    "bash": "hello.sh",
    "shell script": "hello.sh",
    "html": "hello.html",
    "markdown": "HELLO.md",
}
_QUOTED: Final = re.compile(r"[\"'“‘`]([^\"'“”‘’`\n]{1,60})[\"'”’`]")
_EXIT: Final = re.compile(r"(?:exited with code|exit[_ ]code\W{1,3})\s*(\d+)", re.IGNORECASE)
_REFUSED: Final = re.compile(r"\b(?:rejected|denied|declined|not permitted|failed)\b", re.IGNORECASE)
_SHOWN: Final = "The file begins with:"
_ABSENT: Final = "(there is no such file yet)"
_NOTE: Final = "Written by hadesgw's rehearsal model, which is a script and no language model."
_SLASHES: Final = frozenset(("js", "mjs", "ts", "tsx", "jsx", "c", "h", "cc", "cpp", "rs", "go", "java", "php"))
_FENCES: Final = {
    "py": "python",
    "js": "javascript",
    "mjs": "javascript",
    "ts": "typescript",
    "sh": "bash",
    "md": "markdown",
}


class Edit(msgspec.Struct, frozen=True):
    """What is to be edited.

    :ivar path: a relative path inside the workspace.
    :ivar greeting: what a new file shall say.
    """

    path: str
    greeting: str

    @property
    def suffix(self) -> str:
        """The path's last suffix without its dot."""
        return self.path.rpartition(".")[2]

    @property
    def fence(self) -> str:
        """The word after the three backticks of a Markdown block with this file."""
        return _FENCES.get(self.suffix, self.suffix)


def wanted_edit(prompt: str) -> Edit | None:
    """The edit the prompt asks for: a verb of making or changing, and a file or at least a language."""
    if not _EDITS.search(prompt):
        return None
    named = _PATH.search(prompt)
    language = next((path for word, path in _LANGUAGES.items() if word in prompt.lower()), None)
    path = named.group(1) if named else language
    if path is None:
        return None
    quoted = next((text for text in _QUOTED.findall(prompt) if text != path), "Hello from the rehearsal model")
    return Edit(path, quoted)


def _comment(suffix: str, text: str) -> str:
    if suffix in _SLASHES:
        return f"// {text}"
    if suffix in ("md", "html"):
        return f"<!-- {text} -->"
    if suffix == "css":
        return f"/* {text} */"
    return f"-- {text}" if suffix == "sql" else f"# {text}"


def new_file(edit: Edit) -> str:
    """The whole text of a new file."""
    said = json.dumps(edit.greeting, ensure_ascii=False)
    bodies = {
        "py": f'"""{_NOTE}"""\n\nprint({said})\n',
        "js": f"// {_NOTE}\nconsole.log({said});\n",
        "mjs": f"// {_NOTE}\nconsole.log({said});\n",
        "ts": f"// {_NOTE}\nconsole.log({said});\n",
        "sh": f"#!/bin/sh\n# {_NOTE}\nprintf '%s\\n' {shlex.quote(edit.greeting)}\n",
        "md": f"# {edit.greeting}\n\n{_NOTE}\n",
        "html": f"<!doctype html>\n<p>{html.escape(edit.greeting)}</p>\n<!-- {_NOTE} -->\n",
        "json": f'{{"greeting": {said}, "note": {json.dumps(_NOTE)}}}\n',
        "txt": f"{edit.greeting}\n\n{_NOTE}\n",
    }
    return bodies.get(edit.suffix, f"{_comment(edit.suffix, _NOTE)}\n{_comment(edit.suffix, edit.greeting)}\n")


def commented(edit: Edit) -> str:
    """The line that a file which is there gets."""
    return _comment(edit.suffix, _NOTE)


def _patch(edit: Edit, first_line: str | None) -> str:
    """The patch that adds the file, or puts a comment behind the first line it already has."""
    if first_line is None:
        lines = [f"*** Add File: {edit.path}", *(f"+{line}" for line in new_file(edit).splitlines())]
    else:
        lines = [f"*** Update File: {edit.path}", "@@", f" {first_line}", f"+{commented(edit)}"]
    return "\n".join(["*** Begin Patch", *lines, "*** End Patch"])


def shell_tool(conversation: Conversation) -> Tool | None:
    """The tool by which this agent runs commands."""
    return next((tool for name in _SHELLS if (tool := conversation.tool(name))), None)


def _run(shell: Tool, command: str) -> Call:
    """A call of the shell tool in the form its schema asks for."""
    properties = shell.parameters.get("properties")
    properties = properties if isinstance(properties, dict) else {}
    if "cmd" in properties or shell.name == "exec_command":
        return Call(shell.name, json.dumps({"cmd": command}, ensure_ascii=False))
    schema = properties.get("command")
    if isinstance(schema, dict) and schema.get("type") == "array":
        return Call(shell.name, json.dumps({"command": ["bash", "-lc", command]}, ensure_ascii=False))
    return Call(shell.name, json.dumps({"command": command}, ensure_ascii=False))


def _apply(conversation: Conversation, shell: Tool, patch: str) -> Call:
    """The call that applies a patch: the agent's own function for it, or its shell."""
    own = conversation.tool("apply_patch")
    if own is not None:
        properties = own.parameters.get("properties")
        key = next(iter(properties), "input") if isinstance(properties, dict) else "input"
        return Call(own.name, json.dumps({key: patch}, ensure_ascii=False))
    return _run(shell, f"apply_patch <<'REHEARSAL'\n{patch}\nREHEARSAL")


def _output(result: str) -> str:
    """What a command printed, without what the agent wrote around it."""
    return result.partition("Output:\n")[2] if "Output:\n" in result else result


def _failed(result: str) -> bool:
    """Whether a step went wrong: by its exit code, or in words if there is none."""
    code = _EXIT.search(result)
    return code.group(1) != "0" if code else _REFUSED.search(result[:400]) is not None


def _quoted(result: str) -> str:
    lines = _output(result).strip().splitlines()[:6]
    return "\n".join(f"> {line[:160]}" for line in lines) or "> (nothing)"


def _look(path: str) -> str:
    """The command that shows how a file begins; the line before it sets it apart from what the shell says."""
    return f"echo '{_SHOWN}'; head -n 5 -- {path} 2>/dev/null || echo '{_ABSENT}'"


def _first_line(result: str) -> str | None:
    """The first line that :func:`_look` showed; None if there is no such file, or nothing in it.

    :raises ValueError: if the result shows neither.
    """
    _, shown, rest = result.partition(_SHOWN + "\n")
    if not shown:
        raise ValueError("the look at the file shows nothing")
    return None if rest.startswith(_ABSENT) or not rest.strip() else rest.splitlines()[0]


def next_step(conversation: Conversation) -> Answer | None:
    """The agent's next step in the edit its user asked for; None if this is no agent or no edit."""
    shell = shell_tool(conversation)
    edit = wanted_edit(conversation.prompt)
    if shell is None or edit is None or conversation.tool_choice == "none":
        return None
    results = conversation.results
    path = edit.path
    if not results:
        look = _run(shell, _look(path))
        return Answer(text=f"I rehearse this edit in three steps. First a look at `{path}`.", calls=(look,))
    try:
        first_line = _first_line(results[0])
    except ValueError:
        return _given_up(results[0])
    if len(results) == 1:
        return _patched(conversation, shell, edit, first_line)
    if _failed(results[-1]):
        return _given_up(results[-1])
    if len(results) == 2:
        runs = path.endswith(".py") and first_line is None
        check = f"python3 {path}" if runs else f"head -n 12 -- {path}"
        return Answer(text="And a check.", calls=(_run(shell, check),))
    return Answer(
        text=f"Done: `{path}` is edited. The check said:\n\n{_quoted(results[-1])}\n\n"
        "This was the rehearsal model: the edit is real, the thinking is a script."
    )


def _patched(conversation: Conversation, shell: Tool, edit: Edit, first_line: str | None) -> Answer:
    """The step that edits."""
    if edit.suffix == "json" and first_line is not None:
        return Answer(text=f"`{edit.path}` is JSON and takes no comment, so the rehearsal leaves it as it is.")
    call = _apply(conversation, shell, _patch(edit, first_line))
    return Answer(text=f"Now the patch to `{edit.path}`.", calls=(call,))


def _given_up(result: str) -> Answer:
    """The end of an edit that did not work."""
    words = "The step did not work, so the rehearsal of this edit ends here:"
    return Answer(text=f"{words}\n\n{_quoted(result)}")
