// Signs of a coding agent's work in what a model says over a plain protocol: plans that it keeps by a tool, and diffs that it
// writes into its answer.

import type { Plan, PlanStep } from "../model";
import { fieldsOf, listIn, parsed, textIn } from "./json";

/** Codex' own tool for its plan. */
export const PLAN_TOOL = "update_plan";
const MOST_STEPS = 200;
const STATES: Readonly<Record<string, PlanStep["status"]>> = {
  pending: "pending",
  in_progress: "inProgress",
  inProgress: "inProgress",
  completed: "completed",
};

/** The plan in the arguments of that tool; null if there is none. */
export function planIn(written: string): Pick<Plan, "explanation" | "steps"> | null {
  const fields = fieldsOf(parsed(written));
  const steps = listIn(fields?.plan)
    .slice(0, MOST_STEPS)
    .map((entry) => fieldsOf(entry))
    .filter((step) => textIn(step?.step) !== "")
    .map((step) => ({ step: textIn(step?.step), status: STATES[textIn(step?.status)] ?? "pending" }));
  return steps.length > 0 ? { explanation: textIn(fields?.explanation), steps } : null;
}

const FENCED = /^(`{3,}|~{3,})(?:diff|patch)[ \t]*\n([\s\S]*?)^\1[ \t]*$/gm;

/** Unified diffs that stand in fences of a text. */
export function diffsIn(text: string): string[] {
  if (!text.includes("@@")) return [];
  return [...text.matchAll(FENCED)]
    .map((found) => found[2]!)
    .filter((diff) => /^--- /m.test(diff) && /^@@ /m.test(diff));
}
