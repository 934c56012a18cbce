// Records: a session as a file, out of the page and back into it.

import type { RecordProblem } from "../../engine";
import { type Bench, save_file } from "../bench";
import { t } from "../strings";

function words_of(problem: RecordProblem): string {
  switch (problem.kind) {
    case "tooLarge":
      return t.record.too_large(problem.bytes, problem.limit);
    case "notJson":
      return t.record.not_json;
    case "notARecord":
      return t.record.not_a_record;
    case "otherVersion":
      return t.record.other_version(problem.version);
    case "badField":
      return t.record.bad_field(problem.path);
  }
}

export async function open_record(bench: Bench, file: Blob): Promise<void> {
  const opened = await bench.engine.records.open(await file.text());
  if ("problem" in opened) {
    bench.toast.value = words_of(opened.problem);
    return;
  }
  bench.replay.value?.close();
  bench.picked.value = null;
  bench.replay.value = opened.replay;
  opened.replay.seek(opened.replay.durationMs);
}

export async function save_record(bench: Bench, thread: string, redacted: boolean): Promise<void> {
  const { name, type, text } = await bench.engine.records.export(thread, { redacted });
  save_file(name, type, text);
}
