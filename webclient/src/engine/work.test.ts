// @vitest-environment node
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { diffsIn, planIn } from "./work";

describe("planIn", () => {
  it("reads steps and their states, in Codex' words", () => {
    const plan = [
      { step: "Look", status: "completed" },
      { step: "Change", status: "in_progress" },
      { step: "Check", status: "odd" },
      { status: "pending" },
    ];
    expect(planIn(JSON.stringify({ explanation: "Why", plan }))).toEqual({
      explanation: "Why",
      steps: [
        { step: "Look", status: "completed" },
        { step: "Change", status: "inProgress" },
        { step: "Check", status: "pending" },
      ],
    });
  });

  it("finds no plan in anything else", () => {
    for (const text of [
      "",
      "{}",
      '{"plan": []}',
      '{"plan": [{}]}',
      '{"plan": "x"}',
      "[",
      '{"plan": [{"step": {"a": 1}, "status": "__proto__"}]}',
    ])
      expect(planIn(text)).toBeNull();
    fc.assert(fc.property(fc.string(), (text) => void planIn(text)));
  });
});

describe("diffsIn", () => {
  const diff = "--- a/f\n+++ b/f\n@@ -1 +1 @@\n-a\n+b\n";

  it("finds unified diffs in fences, and nothing else", () => {
    expect(diffsIn(`Here:\n\n\`\`\`diff\n${diff}\`\`\`\nand\n\n~~~~patch\n${diff}~~~~\n`)).toEqual([diff, diff]);
    expect(diffsIn(`\`\`\`diff\n+ only a sketch\n\`\`\`\n\`\`\`py\n${diff}\`\`\`\n${diff}`)).toEqual([]);
    expect(diffsIn(`\`\`\`diff\n${diff}`)).toEqual([]);
  });

  it("takes any text, and is not slowed down by many open fences", () => {
    fc.assert(fc.property(fc.string(), (text) => void diffsIn(text)));
    const from = performance.now();
    diffsIn(`@@${"\n```diff".repeat(3_000)}`);
    expect(performance.now() - from).toBeLessThan(2_000);
  });
});
