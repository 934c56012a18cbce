"""The routes that generate nothing: models, tokens, embeddings; each a function from document to body."""

from __future__ import annotations

import hashlib
import math
import struct
from base64 import b64encode
from collections.abc import Callable, Mapping
from typing import Any, Final

from hadesgw.demo import chat, refusal, tokenizer
from hadesgw.demo.completions import prompts
from hadesgw.demo.order import House, model_of, room, whole
from hadesgw.demo.refusal import a_boolean, a_list, a_string, an_integer, anything, mappings

_TOKENIZE_FIELDS: Final = {
    "model": a_string,
    "prompt": a_string,
    "messages": mappings,
    "tools": mappings,
    "return_token_strs": a_boolean,
    "add_generation_prompt": a_boolean,
}
_DETOKENIZE_FIELDS: Final = {"model": a_string, "tokens": a_list}
_EMBEDDING_FIELDS: Final = {
    "model": a_string,
    "input": anything,
    "dimensions": an_integer,
    "encoding_format": a_string,
}
_DIMENSIONS: Final = 256
_MOST_DIMENSIONS: Final = 4096
# How byte-level tokenizers print blanks inside a token.
_SHOWN: Final = str.maketrans({" ": "Ġ", "\n": "Ċ", "\t": "ĉ", "\r": "č"})


def models(house: House, *, created: int, new_id: Callable[[], str]) -> dict[str, Any]:
    """The answer of ``GET /v1/models``.

    :param created: seconds since the epoch.
    """
    listed = []
    for name in house.models:
        permission = {
            "id": f"modelperm-{new_id()}",
            "object": "model_permission",
            "created": created,
            "allow_create_engine": False,
            "allow_sampling": True,
            "allow_logprobs": True,
            "allow_search_indices": False,
            "allow_view": True,
            "allow_fine_tuning": False,
            "organization": "*",
            "group": None,
            "is_blocking": False,
        }
        model = {
            "id": name,
            "object": "model",
            "created": created,
            "owned_by": "rehearsal",
            "root": "rehearsal",
        }
        context = {"parent": None, "max_model_len": house.context_tokens, "permission": [permission]}
        listed.append({**model, **context})
    return {"object": "list", "data": listed}


def tokenized(document: dict[str, Any], house: House) -> dict[str, Any]:
    """The answer of ``POST /tokenize``, for a prompt or for a chat with its template.

    :raises Refusal: as vLLM would refuse it.
    """
    refusal.check(document, _TOKENIZE_FIELDS, ("prompt",) if document.get("messages") is None else ())
    model_of(document, house)
    if document.get("messages") is None:
        text = document["prompt"]
    else:
        messages, tools = chat.read_messages(document, house), chat.read_tools(document)
        text = tokenizer.template(messages, tools, ask=document.get("add_generation_prompt") is not False)
    pieces = list(tokenizer.pieces(text))
    shown = [piece.translate(_SHOWN) for piece in pieces] if document.get("return_token_strs") else None
    tokens = [tokenizer.number(piece) for piece in pieces]
    return {
        "count": len(tokens),
        "max_model_len": house.context_tokens,
        "tokens": tokens,
        "token_strs": shown,
    }


def detokenized(document: dict[str, Any], house: House) -> dict[str, Any]:
    """The answer of ``POST /detokenize``.

    :raises Refusal: as vLLM would refuse it.
    """
    refusal.check(document, _DETOKENIZE_FIELDS, ("tokens",))
    model_of(document, house)
    tokens = document["tokens"]
    for index, token in enumerate(tokens):
        if type(token) is not int:
            raise refusal.wrong("int_type", f"body.tokens.{index}", "Input should be a valid integer", token)
        if not 0 <= token < tokenizer.VOCABULARY:
            raise refusal.bad_parameter("tokens", token, f"Token id {token} is out of vocabulary")
    return {"prompt": tokenizer.decode(tokens)}


def _vector(text: str, dimensions: int) -> list[float]:
    """A unit vector; texts with words in common are near each other, as every token adds at its own place."""
    vector = [0.0] * dimensions
    for piece in tokenizer.pieces(text):
        digest = hashlib.blake2b(piece.strip().lower().encode(), digest_size=8).digest()
        place = int.from_bytes(digest, "big")
        vector[place % dimensions] += 1.0 if place >> 63 else -1.0
    norm = math.sqrt(sum(value * value for value in vector)) or 1.0
    return [value / norm for value in vector]


def embedded(document: dict[str, Any], house: House, *, identity: str, created: int) -> dict[str, Any]:
    """The answer of ``POST /v1/embeddings``.

    :param identity: the answer's id without its prefix.
    :param created: seconds since the epoch.
    :raises Refusal: as vLLM would refuse it.
    """
    refusal.check(document, _EMBEDDING_FIELDS, ("input",))
    model = model_of(document, house)
    texts = prompts({"prompt": document["input"]})
    asked = whole(document, "dimensions")
    dimensions = _DIMENSIONS if asked is None else asked
    if not 1 <= dimensions <= _MOST_DIMENSIONS:
        words = f"dimensions must be between 1 and {_MOST_DIMENSIONS}, got {dimensions}."
        raise refusal.bad_parameter("dimensions", dimensions, words)
    lengths = [tokenizer.count(text, house.context_tokens + 1) for text in texts]
    for length in lengths:
        room(house, length, None)
    tokens = sum(lengths)
    entries = [
        {"index": index, "object": "embedding", "embedding": _written(_vector(text, dimensions), document)}
        for index, text in enumerate(texts)
    ]
    usage = {
        "prompt_tokens": tokens,
        "total_tokens": tokens,
        "completion_tokens": 0,
        "prompt_tokens_details": None,
    }
    head = {"id": f"embd-{identity}", "object": "list", "created": created, "model": model}
    return {**head, "data": entries, "usage": usage}


def _written(vector: list[float], document: Mapping[str, Any]) -> object:
    """A vector as the client wants it: numbers, or its 32-bit floats in base64."""
    if document.get("encoding_format") == "base64":
        return b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
    return vector
