// What is asked of the gateway when somebody looks, and asked again when it may have changed.

import { useEffect, useState } from "preact/hooks";
import type { Answer } from "../../engine";
import { words } from "./strings";

/**
 * Null until the first answer; an older answer never replaces a newer one, and no answer replaces none. `when` says when to
 * ask again.
 */
export function use_asked<T>(ask: () => Promise<Answer<T>>, when: readonly unknown[]): Answer<T> | null {
  const [answer, set_answer] = useState<Answer<T> | null>(null);
  useEffect(() => {
    let gone = false;
    const keep = (told: Answer<T>) => (old: Answer<T> | null) =>
      old?.ok && !told.ok && told.code === "unreachable" ? old : told;
    void ask().then((told) => gone || set_answer(keep(told)));
    return () => {
      gone = true;
    };
  }, when);
  return answer;
}

export function problem_of(answer: Extract<Answer<unknown>, { ok: false }>): string {
  if (answer.code === "unreachable") return words.unreachable;
  return answer.code === "absent" ? words.none_here : answer.problem;
}
