import { describe, expect, it } from "vitest";
import { attempt_of } from "../fixtures/engine";
import { curl, masked_body } from "./curl";

const { request } = attempt_of();

describe("copy as curl", () => {
  it("leaves the key to the shell, and quotes everything else against it", () => {
    const line = curl({ ...request, body: `{"a":"it's $HOME \`x\`"}` }, true);
    expect(line).toContain('-H "Authorization: Bearer $HADES_KEY"');
    expect(line).toContain(`--data-binary '{"a":"it'\\''s $HOME \`x\`"}'`);
  });

  it("masks what was said, and keeps what steers the request", () => {
    const body = JSON.stringify({
      model: "m",
      temperature: 0.2,
      messages: [{ role: "user", content: "canary-7f3a" }],
      metadata: { who: "canary-7f3a" },
    });
    const line = curl({ ...request, body }, false);
    expect(line).not.toContain("canary-7f3a");
    expect(JSON.parse(masked_body(body))).toEqual({
      model: "m",
      temperature: 0.2,
      messages: [{ role: "<text of 4>", content: "<text of 11>" }],
      metadata: { who: "<text of 11>" },
    });
  });

  it("masks a body that is no JSON wholly", () => {
    expect(masked_body("canary-7f3a")).not.toContain("canary");
  });
});
