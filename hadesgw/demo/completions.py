"""``POST /v1/completions``: the older protocol, where a prompt is just text or token ids."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final

from hadesgw.demo import refusal, tokenizer
from hadesgw.demo.answer import Generation, Piece
from hadesgw.demo.chat import usage
from hadesgw.demo.conversation import Conversation, Message
from hadesgw.demo.order import (
    SAMPLING,
    House,
    Order,
    check_sampling,
    model_of,
    room,
    stop_strings,
    stream_options,
    whole,
)
from hadesgw.demo.refusal import Refusal, a_boolean, an_integer, anything
from hadesgw.demo.writing import ENGINE_DEATH, FINGERPRINT, Reply, event

FIELDS: Final = {**SAMPLING, "prompt": anything, "max_tokens": an_integer, "echo": a_boolean}
_DEFAULT_TOKENS: Final = 16


def _spelled(tokens: Sequence[int]) -> str:
    try:
        return tokenizer.decode(tokens)
    except ValueError as error:
        raise Refusal(400, f"Token id {error} is out of vocabulary", param="prompt") from None


def prompts(document: Mapping[str, Any]) -> list[str]:
    """The prompts: a string, token ids, or a list of either.

    :raises Refusal: for anything else.
    """
    prompt = document.get("prompt")
    if isinstance(prompt, str):
        return [prompt]
    if isinstance(prompt, list) and prompt:
        if all(type(entry) is int for entry in prompt):
            return [_spelled(prompt)]
        if all(isinstance(entry, str) for entry in prompt):
            return list(prompt)
        if all(isinstance(entry, list) and all(type(token) is int for token in entry) for entry in prompt):
            return [_spelled(entry) for entry in prompt]
    raise refusal.wrong("string_type", "body.prompt", "Input should be a valid string", prompt)


def read(document: dict[str, Any], house: House) -> Order:
    """The order in a completion request.

    :raises Refusal: as vLLM would refuse it.
    """
    refusal.check(document, FIELDS, ("prompt",))
    model = model_of(document, house)
    include_usage, continuous_usage = stream_options(document)
    if document.get("suffix"):
        message = "suffix is only supported for models with FIM completion rendering"
        raise Refusal(400, message, param="suffix")
    texts = prompts(document)
    check_sampling(document)
    asked = whole(document, "max_tokens") if "max_tokens" in document else _DEFAULT_TOKENS
    lengths = [tokenizer.count(text, house.context_tokens + 1) for text in texts]
    rooms = [room(house, length, asked) for length in lengths]
    return Order(
        document=document,
        model=model,
        conversations=tuple(Conversation((Message("user", text),)) for text in texts),
        prompt_tokens=sum(lengths),
        limit=min(rooms),
        stream=bool(document.get("stream")),
        stop=stop_strings(document),
        keep_stop=bool(document.get("include_stop_str_in_output")),
        ignore_end=bool(document.get("ignore_eos")),
        choices=(whole(document, "n") or 1) * len(texts),
        include_usage=include_usage,
        continuous_usage=continuous_usage,
    )


class Writer:
    """Writes one completion: text, and nothing else."""

    prefix: ClassVar = "cmpl-"
    opens_at_once: ClassVar = False

    def __init__(self, reply: Reply) -> None:
        self._reply = reply
        self._order = reply.order
        self._tokens = 0

    def _echo(self, choice: int) -> str:
        """What precedes a choice's text: its prompt, if the client wants it back."""
        return self._order.asked(choice).messages[0].text if self._order.document.get("echo") else ""

    def _finish(self, generation: Generation) -> str:
        return "length" if generation.finish == "length" else "stop"

    def whole(self, generations: Sequence[Generation]) -> dict[str, Any]:
        """The body of an answer that is not streamed."""
        choices = [
            {
                "index": index,
                "text": self._echo(index) + generation.joined("text"),
                "logprobs": None,
                "finish_reason": self._finish(generation),
                "stop_reason": generation.stop_string,
                "token_ids": None,
                "prompt_logprobs": None,
                "prompt_token_ids": None,
                "routed_experts": None,
            }
            for index, generation in enumerate(generations)
        ]
        counts = usage(self._order.prompt_tokens, sum(generation.tokens for generation in generations))
        return {
            "id": self._reply.id,
            "object": "text_completion",
            "created": self._reply.created,
            "model": self._order.model,
            "choices": choices,
            "service_tier": None,
            "system_fingerprint": FINGERPRINT,
            "usage": {**counts, "prompt_tokens_details": None, "completion_tokens_details": None},
            "kv_transfer_params": None,
            "ec_transfer_params": None,
            "metrics": None,
        }

    def _chunk(self, choices: list[dict[str, Any]], **more: object) -> str:
        chunk: dict[str, Any] = {
            "id": self._reply.id,
            "object": "text_completion",
            "created": self._reply.created,
            "model": self._order.model,
            "choices": choices,
        }
        if self._order.continuous_usage and choices:
            chunk["usage"] = {
                **usage(self._order.prompt_tokens, self._tokens),
                "completion_tokens_details": None,
            }
        return event({**chunk, **more})

    def _step(self, choice: int, text: str, finish: str | None, generation: Generation) -> str:
        step = {
            "index": choice,
            "text": text,
            "logprobs": None,
            "finish_reason": finish,
            "stop_reason": generation.stop_string if finish else None,
            "prompt_token_ids": None,
            "token_ids": None,
        }
        told = finish is not None and not self._order.include_usage
        return self._chunk([step], **({"system_fingerprint": FINGERPRINT} if told else {}))

    def opening(self) -> list[str]:
        """Nothing comes before the text, unless the prompt is wanted back."""
        if not self._order.document.get("echo"):
            return []
        empty = Generation((), "stop", None)
        return [self._step(choice, self._echo(choice), None, empty) for choice in range(self._order.choices)]

    def piece(self, choice: int, piece: Piece, generation: Generation) -> list[str]:
        """The event of one piece of text."""
        self._tokens += piece.tokens
        last = piece is generation.pieces[-1]
        finish = "length" if last and generation.finish == "length" else None
        text = piece.text if piece.kind == "text" else ""
        return [self._step(choice, text, finish, generation)] if text or finish else []

    def ended(self, choice: int, generation: Generation) -> list[str]:
        """The event that ends one choice, unless its last piece did."""
        if generation.finish == "length" and generation.pieces:
            return []
        return [self._step(choice, "", self._finish(generation), generation)]

    def closing(self) -> list[str]:
        """The usage if it was asked for, and the end."""
        events = []
        if self._order.include_usage:
            counts = usage(self._order.prompt_tokens, self._tokens)
            events.append(self._chunk([], usage=counts, system_fingerprint=FINGERPRINT))
        return [*events, "data: [DONE]\n\n"]

    def failure(self) -> list[str]:
        """The engine's death in mid-stream, as on the chat route."""
        return [f"data: {ENGINE_DEATH}\n\n", "data: [DONE]\n\n"]
