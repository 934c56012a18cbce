"""The program that plays Aider for one coding session. It runs in Aider's environment and imports nothing of ours.

It is started in the workspace, by path, with `OPENAI_API_BASE` and `OPENAI_API_KEY` in its environment, and speaks
JSON, one object to a line. On its standard input it takes, told apart by `type`:

- `open`, first and once: `model`, `headers` of every model call, `context_tokens`, `output_tokens`, `edit_format`,
  `commits` (whether edits are committed), `map_tokens` and `writable` (whether files may be changed);
- `say` with `text`: an input, that is a turn, or more for the turn that runs;
- `interrupt`: end the running turn soon.

Its input's end is its own end. On what was its standard output when it was started it says:

- `ready` with Aider's `version`, once;
- `began`, and at the end of the turn `ended` with `status`: `completed`, `interrupted` or `failed`;
- `piece`, `output`, `warning` and `error` with `text`: what the model says as it comes, and what Aider says;
- `files` with `paths`: all files in the chat, whenever they are others than before;
- `edited` with `paths`, and `diff`: everything the turn has changed so far, or "" where no git tells;
- `usage` with `input_tokens` and `output_tokens` of the conversation so far.

Whatever else is written there by anything goes to standard error. Nobody can be asked: questions are answered here, and
commands that reach beyond the chat and the workspace are refused.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import sys
import threading
from collections.abc import Callable, Collection, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, BinaryIO

ALLOWED = frozenset(("add", "clear", "commit", "diff", "drop", "ls", "map", "map-refresh", "reset", "tokens", "undo"))
"""Aider's commands that stay within the chat, the workspace and its repository."""
OWN = frozenset(("focus", "help"))
COMMITTING = frozenset(("commit", "undo"))
HELP = """\
/add FILE     put a file into the chat
/drop [FILE]  take it out; without a name, all
/focus FILE   put it into the chat, and nothing else
/ls           list the repository's files and those in the chat
/diff         show what has changed since the last input
/commit TEXT  commit everything that is changed; without TEXT the model writes the message
/undo         take back Aider's last commit
/map          show the map of the repository, if there is one
/tokens       show what the chat costs
/clear        forget the conversation; /reset takes the files out too
"""
_MOST_TEXT = 512 << 10


class Unresolved(Exception):
    """No command is meant; the text is for the user."""


def resolve(word: str, names: Collection[str]) -> str:
    """The command that a word stands for: itself, or the only one that begins so.

    :param word: without the slash.
    :raises Unresolved: if there is none, or several.
    """
    if word in names:
        return word
    found = sorted(name for name in names if name.startswith(word))
    if len(found) == 1:
        return found[0]
    if found:
        raise Unresolved(f"/{word} may be {', '.join('/' + name for name in found)}: say which")
    raise Unresolved(f"There is no command /{word}; /help shows those there are.")


def forbidden(path: str, root: Path) -> str | None:
    """Why a file must not be changed: it is outside, or it is the repository's own; None if it may be."""
    full = (root / path).resolve()
    if full == root or not full.is_relative_to(root):
        return f"{path} is not in the workspace"
    if any(part.lower() == ".git" for part in full.relative_to(root).parts):
        return f"{path} belongs to the repository itself"
    return None


class Voice:
    """Says things, a line each; may be used by several threads.

    :param stream: where.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()
        self._within = False  # whether a line of the reply has begun and not ended
        self._files: list[str] | None = None

    def say(self, kind: str, **members: object) -> None:
        """Say one thing."""
        line = json.dumps({"type": kind, **members}).encode() + b"\n"
        with self._lock:
            self._stream.write(line)
            self._stream.flush()

    def piece(self, text: str) -> None:
        """A part of what the model says."""
        self.say("piece", text=text)
        self._within = not text.endswith("\n")

    def output(self, text: str) -> None:
        """A line of Aider's own, on a line of its own."""
        if text.strip():
            self.say("output", text=f"{self.break_line()}{text[:_MOST_TEXT]}\n")

    def end_line(self) -> None:
        """See that what follows begins on a line of its own."""
        if self.break_line():
            self.say("output", text="\n")

    def break_line(self) -> str:
        """What ends the line that has begun, if one has."""
        within, self._within = self._within, False
        return "\n" if within else ""

    def remark(self, kind: str, text: str) -> None:
        """A warning or an error."""
        if text.strip():
            self.say(kind, text=text.strip()[:_MOST_TEXT])

    def files(self, paths: list[str]) -> None:
        """The files in the chat, if they are others than those said last."""
        if paths != self._files:
            self._files = paths
            self.say("files", paths=paths)


class Ear(threading.Thread):
    """Hears orders while the main thread works.

    :param stream: of orders.
    """

    def __init__(self, stream: BinaryIO) -> None:
        super().__init__(daemon=True)
        self._stream = stream
        self._armed = False
        self._wanted = False
        self._inputs: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self.interrupted = False

    def run(self) -> None:
        """Until nobody speaks any more: then there is nothing left to do."""
        for line in self._stream:
            order = json.loads(line)
            if order["type"] == "interrupt":
                self._strike()
            else:
                self._wanted = False
                self._inputs.put(order["text"])
        self._inputs.put(None)
        self._strike()

    def next(self) -> str | None:
        """The next input, when it comes; None at the end."""
        return self._inputs.get()

    @property
    def waiting(self) -> bool:
        """Whether one has come already."""
        return not self._inputs.empty()

    def more(self) -> str | None:
        """A further input that has come already, or None."""
        try:
            text = self._inputs.get_nowait()
        except queue.Empty:
            return None
        if text is None:
            self._inputs.put(None)
        return text

    # -- Interruption: only a real signal gets the main thread out of a system call ------------------------------------

    def _strike(self) -> None:
        self._wanted = True
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    def arm(self) -> None:
        """From now on an interruption is raised in the main thread, once; one that has come already, at once.

        :raises KeyboardInterrupt: for that one.
        """
        self.interrupted = False
        self._armed = True
        if self._wanted:
            self.struck()

    def disarm(self) -> None:
        """None is raised any more."""
        self._armed = False

    def struck(self, *_: object) -> None:
        """The signal's handler.

        :raises KeyboardInterrupt: if armed.
        """
        if self._armed and self._wanted:
            self._armed = self._wanted = False
            self.interrupted = True
            raise KeyboardInterrupt


# -- Aider, with our own eyes and mouth --------------------------------------------------------------------------------


class Speech:
    """What Aider has in place of a terminal: says what it says, answers what it asks. To be put before its own.

    :ivar errors: how many it has said.
    """

    voice: Voice
    errors = 0

    def tool_output(self, *messages: object, log_only: bool = False, bold: bool = False) -> None:
        if not log_only:
            self.voice.output(" ".join(map(str, messages)))

    def tool_warning(self, message: object = "", strip: bool = True) -> None:
        self.voice.remark("warning", str(message))

    def tool_error(self, message: object = "", strip: bool = True) -> None:
        self.errors += 1
        self.voice.remark("error", str(message))

    def assistant_output(self, message: str, pretty: bool | None = None) -> None:
        self.voice.output(message)

    def print(self, message: object = "") -> None:
        self.voice.output(str(message))

    def confirm_ask(
        self,
        question: str,
        default: str = "y",
        subject: str | None = None,
        explicit_yes_required: bool = False,
        group: object = None,
        allow_never: bool = False,
    ) -> bool:
        """Yes, but to what needs a person's word, and to what the gateway would refuse."""
        return not explicit_yes_required and not question.startswith("Try to proceed")

    def prompt_ask(self, question: str, default: str = "", subject: str | None = None) -> str:
        return default

    def offer_url(self, url: str, prompt: str = "", allow_never: bool = True) -> bool:
        return False

    def get_input(self, *_: object, **__: object) -> str:
        raise EOFError

    def user_input(self, inp: str, log_only: bool = True) -> None:
        """The session has told it already."""

    def llm_started(self) -> None:
        """Nobody waits for a bell."""


def make_io(voice: Voice) -> Any:
    """Aider's own for files, ours for people."""
    kind: Any = type("OurInputOutput", (Speech, import_module("aider.io").InputOutput), {"voice": voice})
    return kind(pretty=False, yes=True, fancy_input=False, chat_history_file=None, input_history_file=None)


def make_model(order: Mapping[str, Any]) -> Any:
    """The one model there is; it writes the messages of commits, too."""
    models: Any = import_module("aider.models")
    prompt = order["context_tokens"] - order["output_tokens"]
    limits = {
        "max_tokens": order["output_tokens"],
        "max_input_tokens": prompt,
        "max_output_tokens": order["output_tokens"],
        "litellm_provider": "openai",
        "mode": "chat",
    }

    known = {"get_model_info": lambda self, model: limits}  # its own asks far away
    kind: Any = type("OnlyModel", (models.Model,), known)
    made = kind(f"openai/{order['model']}", weak_model=False, editor_model=False)
    made.weak_model = made.editor_model = made
    made.extra_params = {"extra_headers": dict(order["headers"])}
    made.streaming = True
    return made


class Telling:
    """What tells of Aider's work, and leaves alone what is not the workspace's. To be put before its own coder."""

    voice: Voice
    place: Path
    aider: Any  # what is told, for the eyes of mypy

    def allowed_to_edit(self, path: str) -> Any:
        own: Any = super()
        why = forbidden(path, self.place)
        if why is not None:
            self.aider.io.tool_error(f"Skipping edits: {why}")
            return None
        allowed = own.allowed_to_edit(path)
        self.tell_files()
        return allowed

    def check_for_file_mentions(self, content: str) -> Any:
        own: Any = super()
        told = own.check_for_file_mentions(content)
        self.tell_files()
        return told

    def apply_updates(self) -> Any:
        own: Any = super()
        edited = own.apply_updates()
        paths = sorted(path for path in edited if path)
        if paths and not self.aider.dry_run:
            changed = sorted({*paths, *(path for path in self.aider.aider_edited_files if path)})
            self.voice.say("edited", paths=paths, diff=self._difference(changed))
        return edited

    def _difference(self, paths: list[str]) -> str:
        aider = self.aider
        if not aider.repo or not aider.commit_before_message or not aider.commit_before_message[-1]:
            return ""
        safe = ("--no-color", "--no-ext-diff", "--no-textconv")
        try:
            text: str = aider.repo.repo.git.diff(*safe, aider.commit_before_message[-1], "--", *paths)
        except import_module("aider.repo").ANY_GIT_ERROR:
            return ""
        return text[:_MOST_TEXT] + "\n"

    def show_usage_report(self) -> None:
        aider = self.aider
        if aider.usage_report:
            aider.total_tokens_sent += aider.message_tokens_sent
            aider.total_tokens_received += aider.message_tokens_received
            aider.message_cost = aider.message_tokens_sent = aider.message_tokens_received = 0
            total = {"input_tokens": aider.total_tokens_sent, "output_tokens": aider.total_tokens_received}
            self.voice.say("usage", **total)

    def keyboard_interrupt(self) -> None:
        """Two interruptions in a row do not end the program."""

    def tell_files(self) -> None:
        self.voice.files(self.aider.get_inchat_relative_files())


def make_coder(order: Mapping[str, Any], voice: Voice, root: Path) -> Any:
    """Aider, ready for an input."""
    coders: Any = import_module("aider.coders")
    base: Any = {"whole": coders.WholeFileCoder, "diff": coders.EditBlockCoder}[order["edit_format"]]
    map_of: Any = import_module("aider.repomap").RepoMap
    map_of.TAGS_CACHE_DIR = str(Path.home() / "tags")  # and not in the workspace
    io, model = make_io(voice), make_model(order)
    repo = _repository(order, io, model, root)
    ours = {"voice": voice, "place": root, "aider": property(lambda self: self)}
    kind: Any = type("OurCoder", (Telling, base), ours)
    coder = kind(
        model,
        io,
        repo=repo,
        use_git=repo is not None,
        auto_commits=order["commits"],
        dirty_commits=order["commits"],
        dry_run=not order["writable"],
        map_tokens=order["map_tokens"],
        auto_lint=False,
        suggest_shell_commands=False,
        detect_urls=False,
        stream=True,
    )
    coder.root = str(root)
    coder.init_before_message()  # from where the first /diff counts
    return coder


def _repository(order: Mapping[str, Any], io: Any, model: Any, root: Path) -> Any:
    """The workspace's own repository; None if it has none: one further up is not its own."""
    if not (root / ".git").is_dir():
        if order["commits"]:
            io.tool_warning("The workspace is no git repository of its own: edits are not committed.")
        return None
    repo: Any = import_module("aider.repo")
    try:
        found = repo.GitRepo(io, [], str(root), models=model.commit_message_models(), git_commit_verify=False)
    except (FileNotFoundError, *repo.ANY_GIT_ERROR) as problem:
        io.tool_warning(f"git cannot be used here: {problem}")
        return None
    if not order["commits"]:
        found.path_in_repo = lambda path: True  # else it adds new files to an index that it cannot write
    return found


# -- Turns -------------------------------------------------------------------------------------------------------------


class Play:
    """Carries out inputs, one after the other.

    :param coder: of :func:`make_coder`.
    :param names: of all commands there are.
    :param switch: what Aider raises when it wants to become another.
    """

    def __init__(
        self,
        coder: Any,
        voice: Voice,
        ear: Ear,
        order: Mapping[str, Any],
        names: Collection[str],
        switch: type[Exception],
    ) -> None:
        self._coder = coder
        self._voice = voice
        self._ear = ear
        self._order = order
        self._names = names
        self._switch = switch

    def turn(self, text: str) -> None:
        """One input, and what comes while it is worked on."""
        self._voice.say("began")
        try:
            self._ear.arm()
            status = self._inputs(text)
            self._ear.disarm()
        except KeyboardInterrupt:
            status = "interrupted"
        except (SystemExit, self._switch):
            status = self._fail("Aider wanted to end, or to become another; it does neither here.")
        except Exception as problem:  # noqa: BLE001 - Aider's own faults end a turn, and not the session
            status = self._fail(f"Aider has a fault: {type(problem).__name__}: {problem}")
        self._ear.disarm()
        self._coder.tell_files()
        self._voice.end_line()
        self._voice.say("ended", status=status)

    def _fail(self, why: str) -> str:
        self._voice.remark("error", why)
        return "failed"

    def _inputs(self, text: str) -> str:
        status = self._input(text)
        while not self._ear.interrupted and (more := self._ear.more()) is not None:
            status = self._input(more)
        return "interrupted" if self._ear.interrupted else status

    def _input(self, text: str) -> str:
        if text.startswith("!"):
            return self._fail("No shell is to be had here: commands are not run.")
        head, _, rest = text.strip().partition(" ")
        if head[:1] == "/" and head[1:].replace("-", "").isalpha():
            return self._command(head[1:].lower(), rest.strip())
        return self._message(text)

    def _message(self, text: str) -> str:
        """What the user wants of the model, and what Aider has to say to its answers."""
        coder = self._coder
        coder.init_before_message()
        coder.check_for_file_mentions(text)
        message, errors = text, 0
        for _ in range(coder.max_reflections + 1):
            coder.reflected_message = None
            errors = coder.io.errors
            for piece in coder.send_message(message):
                self._voice.piece(piece)
            coder.tell_files()
            if not coder.reflected_message or self._ear.interrupted:
                break
            message = coder.reflected_message
            self._voice.end_line()
        return "failed" if coder.io.errors > errors else "completed"

    def _command(self, word: str, argument: str) -> str:
        try:
            name = resolve(word, self._names)
        except Unresolved as unresolved:
            return self._fail(str(unresolved))
        if name not in ALLOWED | OWN:
            return self._fail(f"/{name} is not to be had here: it reaches beyond the chat and the workspace.")
        if name in COMMITTING and not self._order["commits"]:
            return self._fail(f"/{name} is not to be had here: Aider commits nothing.")
        return self._carry_out(name, argument)

    def _carry_out(self, name: str, argument: str) -> str:
        self._coder.init_before_message()
        errors = self._coder.io.errors
        if name == "help":
            self._voice.output(HELP)
        elif name == "focus":
            self._focus(argument)
        else:
            self._coder.commands.do_run(name, argument)
        return "failed" if self._coder.io.errors > errors else "completed"

    def _focus(self, argument: str) -> None:
        """One file in the chat, the others out; if it cannot be had, nothing changes."""
        coder = self._coder
        if forbidden(argument, Path(coder.root)) is not None or not (Path(coder.root) / argument).is_file():
            coder.io.tool_error(f"/focus takes a file of the workspace: {argument or 'none was named'}")
            return
        coder.commands.do_run("drop", "")
        coder.commands.do_run("add", json.dumps(argument, ensure_ascii=False))


def command_names(coder: Any) -> Collection[str]:
    """All of Aider's commands, and ours."""
    return {name.removeprefix("/") for name in coder.commands.get_commands()} | OWN


def _own_output() -> BinaryIO:
    """What was standard output; from now on nothing but what we say goes there."""
    own = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - Aider prints there what it tells us as well
    return own


def play(source: BinaryIO, finish: Callable[[int], object]) -> None:
    """Play until nobody gives orders any more.

    :param source: of orders.
    :param finish: ends the program, other threads or not.
    """
    voice = Voice(_own_output())
    order = json.loads(source.readline())
    ear = Ear(source)
    signal.signal(signal.SIGINT, ear.struck)
    coder = make_coder(order, voice, Path.cwd())
    switch = import_module("aider.commands").SwitchCoder
    played = Play(coder, voice, ear, order, command_names(coder), switch)
    import_module("litellm")  # it takes seconds, which the first turn shall not
    ear.start()
    voice.say("ready", version=import_module("aider").__version__)
    coder.tell_files()
    while (text := ear.next()) is not None:
        played.turn(text)
    finish(0)


if __name__ == "__main__":
    play(sys.stdin.buffer, os._exit)
