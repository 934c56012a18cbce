"""Models, tokens, embeddings."""

from __future__ import annotations

import math
import struct
from base64 import b64decode
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from hadesgw.demo import lookups, tokenizer
from hadesgw.demo.order import House
from hadesgw.demo.refusal import Refusal
from tests.demo.playing import Playhouse
from tests.demo.test_chat import VALUES

HOUSE = House(("m", "n"), 500)


def embed(texts: object, **more: Any) -> list[Any]:
    body = lookups.embedded({"input": texts, **more}, HOUSE, identity="x", created=0)
    return [entry["embedding"] for entry in body["data"]]


def nearness(one: list[float], other: list[float]) -> float:
    return sum(a * b for a, b in zip(one, other, strict=True))


class ModelTests(SynchronousTestCase):
    """`/v1/models`."""

    def test_every_name_is_listed_as_a_rehearsal(self) -> None:
        """With the length of its context."""
        listed = lookups.models(HOUSE, created=5, new_id=lambda: "1")["data"]
        self.assertEqual([model["id"] for model in listed], ["m", "n"])
        self.assertEqual({(model["owned_by"], model["max_model_len"]) for model in listed}, {("rehearsal", 500)})


class TokenTests(SynchronousTestCase):
    """`/tokenize` and `/detokenize`."""

    @given(st.text(st.characters(exclude_categories=["Cs"]), max_size=40))
    def test_detokenize_undoes_tokenize(self, text: str) -> None:
        """Any prompt comes back."""
        tokens = lookups.tokenized({"prompt": text}, HOUSE)["tokens"]
        self.assertEqual(lookups.detokenized({"tokens": tokens}, HOUSE), {"prompt": text})

    def test_a_chat_is_tokenized_with_its_template(self) -> None:
        """With the assistant's turn opened, unless that is not wanted."""
        document = {"messages": [{"role": "user", "content": "Hi"}]}
        opened = lookups.tokenized(document, HOUSE)["tokens"]
        closed = lookups.tokenized({**document, "add_generation_prompt": False}, HOUSE)["tokens"]
        self.assertEqual(tokenizer.decode(opened[len(closed) :]), "<|im_start|>assistant\n")

    def test_texts_of_tokens_show_their_blanks(self) -> None:
        """As byte-level tokenizers print them; null if nobody asked."""
        shown = lookups.tokenized({"prompt": "a b\n", "return_token_strs": True}, HOUSE)["token_strs"]
        self.assertEqual(shown, ["a", "Ġb", "Ċ"])
        self.assertIsNone(lookups.tokenized({"prompt": "a"}, HOUSE)["token_strs"])

    def test_what_is_no_token_is_refused(self) -> None:
        """Neither other types nor ids that no token has."""
        for token, param in (("x", "body.tokens.1"), (True, "body.tokens.1"), (-1, "tokens"), (2**60, "tokens")):
            refused = self.assertRaises(Refusal, lookups.detokenized, {"tokens": [1, token]}, HOUSE)
            self.assertEqual(refused.param, param)

    @given(
        st.dictionaries(
            st.sampled_from(["prompt", "messages", "tools", "tokens", "input", "dimensions", "model"]),
            VALUES,
            max_size=4,
        )
    )
    def test_any_document_is_answered_or_refused(self, document: dict[str, Any]) -> None:
        """There is no third outcome, on any of these routes."""
        for answer in (
            lambda: lookups.tokenized(document, HOUSE),
            lambda: lookups.detokenized(document, HOUSE),
            lambda: lookups.embedded(document, HOUSE, identity="x", created=0),
        ):
            try:
                answer()
            except Refusal as refused:
                self.assertIn(refused.status, (400, 404))


class EmbeddingTests(SynchronousTestCase):
    """`/v1/embeddings`."""

    def test_vectors_have_length_one_and_the_wanted_size(self) -> None:
        """256 numbers if nobody says; an empty text is nowhere."""
        for vector, size in ((embed("a cat")[0], 256), (embed("a cat", dimensions=8)[0], 8)):
            self.assertEqual(len(vector), size)
            self.assertAlmostEqual(math.hypot(*vector), 1.0)
        self.assertEqual(set(embed("")[0]), {0.0})

    def test_like_texts_are_near_each_other(self) -> None:
        """The same text is the same place, common words bring texts together."""
        cat, again, similar, other = embed(["the black cat", "the black cat", "a black cat", "zebras run"])
        self.assertEqual(cat, again)
        self.assertGreater(nearness(cat, similar), 0.5)
        self.assertLess(nearness(cat, other), 0.2)

    def test_base64_is_the_same_vector(self) -> None:
        """As 32-bit floats, lowest byte first."""
        (packed,), (plain,) = embed("a cat", encoding_format="base64"), embed("a cat")
        for one, other in zip(struct.unpack("<256f", b64decode(packed)), plain, strict=True):
            self.assertAlmostEqual(one, other, places=6)

    def test_sizes_have_bounds(self) -> None:
        """Of the vector and of the text."""
        for more in ({"dimensions": 0}, {"dimensions": 4097}):
            self.assertEqual(self.assertRaises(Refusal, embed, "x", **more).param, "dimensions")
        self.assertEqual(self.assertRaises(Refusal, embed, "a " * 501).param, "input_tokens")

    def test_the_answer_counts(self) -> None:
        """Tokens of all inputs; nothing is generated."""
        answer = Playhouse().post("/v1/embeddings", {"input": ["one", "two three"]}).json()
        self.assertEqual((answer["id"], answer["usage"]["prompt_tokens"]), ("embd-0000000000000001", 3))
        self.assertEqual(answer["usage"]["completion_tokens"], 0)
        self.assertEqual(Playhouse().post("/v1/embeddings", {}).status, 400)
