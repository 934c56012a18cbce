"""The counts."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families
from twisted.trial.unittest import SynchronousTestCase

from hadesgw.demo.meters import Meters


class MeterTests(SynchronousTestCase):
    """What is counted, and how it is written."""

    def samples(self, meters: Meters) -> dict[str, float]:
        families = text_string_to_metric_families(meters.text())
        return {
            sample.name + sample.labels.get("finished_reason", ""): sample.value
            for family in families
            for sample in family.samples
        }

    def test_requests_and_tokens_are_counted(self) -> None:
        """What runs, what was read, how it ended; calls of tools end in a stop."""
        meters = Meters("m")
        meters.began(5)
        meters.began(7)
        meters.ended(["stop", "tool_calls", "length"])
        meters.generated_tokens += 3
        samples = self.samples(meters)
        self.assertEqual(samples["vllm:num_requests_running"], 1)
        self.assertEqual(samples["vllm:prompt_tokens_total"], 12)
        self.assertEqual(samples["vllm:generation_tokens_total"], 3)
        self.assertEqual(samples["vllm:request_success_totalstop"], 2)
        self.assertEqual(samples["vllm:request_success_totallength"], 1)

    def test_a_name_with_signs_is_a_label(self) -> None:
        """Quotes, backslashes and newlines are escaped."""
        (family, *_) = text_string_to_metric_families(Meters('a"b\\c\nd').text())
        self.assertEqual(family.samples[0].labels["model_name"], 'a"b\\c\nd')
