// The panels that are not there from the beginning.

import type { ComponentChildren } from "preact";
import type { Tab } from "../bench";
import type { Shown } from "./inspector";
import { MemoryPanel } from "./memory";
import { RawPanel } from "./raw";
import { StreamPanel } from "./stream";
import { TimingsPanel } from "./timings";
import { ToolsPanel } from "./tools";

export const panels: Record<Exclude<Tab, "request">, (props: { shown: Shown }) => ComponentChildren> = {
  stream: StreamPanel,
  tools: () => <ToolsPanel />,
  memory: () => <MemoryPanel />,
  timings: TimingsPanel,
  raw: RawPanel,
};
