// The plan that the model keeps: its steps, and how far they are.

import type { Plan, PlanStep } from "../../model";
import { Icon } from "../icon";
import { t } from "../strings";

const signs: Record<PlanStep["status"], string> = { pending: "○", inProgress: "◐", completed: "●" };

export function PlanCard({ item }: { item: Plan }) {
  const done = item.steps.filter((step) => step.status === "completed").length;
  return (
    <section class="card">
      <header class="card-head">
        <Icon name="plan" />
        <strong class="grow">{t.plan.title}</strong>
        <span class="muted number">{t.plan.of(done, item.steps.length)}</span>
      </header>
      <div class="card-body">
        {item.explanation !== "" && <p dir="auto">{item.explanation}</p>}
        <PlanSteps steps={item.steps} />
      </div>
    </section>
  );
}

export const PlanSteps = ({ steps }: Pick<Plan, "steps">) => (
  <ol class="bare plan-steps">
    {steps.map((step, at) => (
      <li key={at} class={step.status} aria-current={step.status === "inProgress" ? "step" : undefined}>
        <span role="img" aria-label={t.plan.status[step.status]}>
          {signs[step.status]}
        </span>
        <span dir="auto">{step.step}</span>
      </li>
    ))}
  </ol>
);
