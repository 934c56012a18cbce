"""What a Responses stream has said of itself."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from hadesgw.policy.response_trail import ResponseTrail

VLLM = (
    b"event: response.created\n"
    b'data: {"response":{"id":"resp_b619","created_at":1},"sequence_number":0,"type":"response.created"}\n\n'
)
OPENAI = b'data: {"type": "response.created", "sequence_number": 0, "response": {"id": "resp_b619", "object": 1}}\n\n'
DELTA = b'data: {"delta":"a","sequence_number":%d,"type":"response.output_text.delta"}\n\n'


def trail(*pieces: bytes) -> tuple[str | None, int | None]:
    """What is known after these."""
    seen = ResponseTrail()
    for piece in pieces:
        seen.feed(piece)
    return seen.response_id, seen.next_number


class ResponseTrailTests(SynchronousTestCase):
    """`ResponseTrail` in front of one stream."""

    def test_nothing_is_known_at_first(self) -> None:
        """Nor of a stream without ids and numbers."""
        self.assertEqual(trail(), (None, None))
        self.assertEqual(trail(b'data: {"choices":[]}\n\n', b": comment\n\n"), (None, None))

    def test_both_ways_of_writing_it(self) -> None:
        """vLLM's, and OpenAI's own order."""
        self.assertEqual(trail(VLLM), ("resp_b619", 1))
        self.assertEqual(trail(OPENAI), ("resp_b619", 1))

    def test_the_last_number_counts(self) -> None:
        """Of one read, and of all."""
        self.assertEqual(trail(VLLM, DELTA % 1 + DELTA % 2, b": comment\n\n"), ("resp_b619", 3))

    def test_what_a_model_writes_is_not_taken_for_it(self) -> None:
        """Names within a text are quoted otherwise; an id that is none is left out."""
        written = rb'{\"response\":{\"id\":\"resp_x\"},\"sequence_number\":77}'
        self.assertEqual(trail(b'data: {"delta":"%b","sequence_number":4}\n\n' % written), (None, 5))
        self.assertEqual(trail(VLLM.replace(b"resp_b619", b"a b")), (None, 1))

    def test_an_id_far_from_the_beginning_is_not_looked_for(self) -> None:
        """It would be no response's first event."""
        self.assertEqual(trail(b": " + b"x" * 5000 + b"\n\n", VLLM), (None, 1))
        self.assertEqual(trail(b": " + b"x" * 5000 + b"\n\n" + VLLM), (None, 1))

    @given(st.lists(st.integers(0, 400), max_size=6), st.sampled_from([VLLM, OPENAI]))
    def test_the_same_however_it_is_cut(self, cuts: list[int], begun: bytes) -> None:
        """Also where the stream breaks off inside a number: what is not whole is not known."""
        whole = begun + DELTA % 1 + DELTA % 12 + b'data: {"sequence_number":1'
        bounds = sorted({0, len(whole), *(min(cut, len(whole)) for cut in cuts)})
        pieces = [whole[begin:end] for begin, end in pairwise(bounds)]
        self.assertEqual(trail(*pieces), ("resp_b619", 13))
