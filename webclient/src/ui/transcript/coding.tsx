// The items of coding sessions, and diffs. With the readers of diffs and of terminal colours behind them they are no part
// of what the page begins with.

import type { Approval, CommandExecution, Diff, FileChange, Notice, Plan } from "../../model";
import { use_bench } from "../bench";
import { ApprovalCard } from "./approval";
import { CommandCard } from "./command";
import { DiffCard, FileChangeCard } from "./diff";
import { NoticeLine } from "./notice";
import { PlanCard } from "./plan";

export type CodingItem = Approval | CommandExecution | Diff | FileChange | Notice | Plan;

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
      return <OpenApproval item={item} />;
    case "notice":
      return <NoticeLine item={item} />;
  }
}

/** It can be answered as long as its session is connected. */
function OpenApproval({ item }: { item: Approval }) {
  const coding = use_bench().coding.value?.view;
  const can = coding?.link.value.kind === "open";
  return <ApprovalCard item={item} decide={can ? (decision) => coding.decide(item.request, decision) : undefined} />;
}
