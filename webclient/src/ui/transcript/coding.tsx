// The items of coding sessions, and diffs. With the readers of diffs and of terminal colours behind them they are no part
// of what the page begins with.

import type { Approval, CommandExecution, Diff, FileChange, Plan } from "../../model";
import { ApprovalCard } from "./approval";
import { CommandCard } from "./command";
import { DiffCard, FileChangeCard } from "./diff";
import { PlanCard } from "./plan";

export type CodingItem = Approval | CommandExecution | Diff | FileChange | Plan;

export function CodingCard({ item }: { item: CodingItem }) {
  switch (item.kind) {
    case "commandExecution":
      return <CommandCard item={item} />;
    case "fileChange":
      return <FileChangeCard item={item} />;
    case "plan":
      return <PlanCard item={item} />;
    case "diff":
      return <DiffCard item={item} />;
    case "approval":
      return <ApprovalCard item={item} />;
  }
}
