// Showing a coding session: its view, and the parts of the page that go with it.

import { type Bench, to_threads } from "../bench";
import { t } from "../strings";
import { CodingComposer } from "./composer";
import { CodingInspector } from "./inspector";
import { CodingRows } from "./rows";

export async function join(bench: Bench, id: string): Promise<void> {
  const coding = await bench.engine.coding.load().catch(() => null);
  if (!coding) {
    bench.toast.value = t.chunk_failed;
    return;
  }
  to_threads(bench);
  bench.coding.value = {
    view: coding.join(id),
    Rows: CodingRows,
    Composer: CodingComposer,
    Inspector: CodingInspector,
  };
  if (bench.room.value === 1) bench.sessions_open.value = false;
}
