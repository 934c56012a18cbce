// @vitest-environment node
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { Settings } from "../model";
import { keyInAddress } from "./key";
import { defaultSettings, gatewayAddress, KeptSettings, problemsOf, settingsFrom } from "./settings";
import { MemoryStorage } from "./testing";

const page = "http://127.0.0.1:8082/";
const problems = (fields: Partial<Settings>) => problemsOf({ ...defaultSettings, ...fields }, page);

describe("gatewayAddress", () => {
  it.each([
    ["", "http://127.0.0.1:8082"],
    ["http://localhost:9000", "http://localhost:9000"],
    ["http://localhost:9000/v1/", "http://localhost:9000"],
    [" https://gw.example/hades/v1 ", "https://gw.example/hades"],
    ["localhost:9000", null],
    ["ftp://localhost", null],
    ["javascript:alert(1)", null],
    ["http://user:pass@localhost", null],
    ["http://localhost/?x=1", null],
    ["http://localhost/#key=1", null],
    ["http://", null],
  ])("reads %j", (text, address) => {
    expect(gatewayAddress(text, page)).toBe(address);
  });
});

describe("problemsOf", () => {
  it("finds nothing wrong with the defaults", () => {
    expect(problemsOf(defaultSettings, page)).toEqual([]);
  });

  it.each([
    [{ baseUrl: "nowhere" }, { field: "baseUrl", problem: "notAnAddress" }],
    [{ requestIdHeader: "X Request" }, { field: "requestIdHeader", problem: "notAHeaderName" }],
    [
      { sampling: { ...defaultSettings.sampling, temperature: 2.1 } },
      { field: "sampling.temperature", problem: "outOfRange", least: 0, most: 2 },
    ],
    [
      { sampling: { ...defaultSettings.sampling, temperature: Number.NaN } },
      { field: "sampling.temperature", problem: "outOfRange", least: 0, most: 2 },
    ],
    [
      { sampling: { ...defaultSettings.sampling, maxTokens: 1.5 } },
      { field: "sampling.maxTokens", problem: "notAWholeNumber" },
    ],
    [
      { sampling: { ...defaultSettings.sampling, stop: Array<string>(17).fill("x") } },
      { field: "sampling.stop", problem: "outOfRange", least: 0, most: 16 },
    ],
    [{ toolDefinitions: "{" }, { field: "toolDefinitions", problem: "badTools", tools: { kind: "notJson", at: 1 } }],
  ] as const)("names what is wrong: %j", (fields, problem) => {
    expect(problems(fields as unknown as Partial<Settings>)).toEqual([problem]);
  });
});

describe("KeptSettings", () => {
  it("keeps what is set, and asks with what is sound of it", () => {
    const storage = new MemoryStorage();
    const settings = new KeptSettings(storage, page);
    settings.change({
      baseUrl: "nowhere",
      systemPrompt: "Be brief",
      sampling: { ...defaultSettings.sampling, temperature: 9, topP: 0.5 },
    });
    const again = new KeptSettings(storage, page);
    expect(again.value.value).toMatchObject({
      baseUrl: "nowhere",
      systemPrompt: "Be brief",
      sampling: { temperature: 9, topP: 0.5 },
    });
    expect(again.inForce.value).toMatchObject({
      baseUrl: "",
      systemPrompt: "Be brief",
      sampling: { temperature: null, topP: 0.5 },
    });
    again.reset();
    expect(new KeptSettings(storage, page).value.value).toEqual(defaultSettings);
  });

  it("makes settings of whatever was kept", () => {
    fc.assert(
      fc.property(
        fc.jsonValue(),
        fc.dictionary(fc.constantFrom(...Object.keys(defaultSettings)), fc.jsonValue()),
        (any, fields) => {
          for (const kept of [any, fields])
            expect(Object.keys(settingsFrom(kept)).sort()).toEqual(Object.keys(defaultSettings).sort());
          problemsOf(settingsFrom(fields), page);
        },
      ),
    );
  });

  it("works without storage, and with one that fails", () => {
    const broken = {
      getItem: () => {
        throw new Error("no");
      },
      setItem: () => {
        throw new Error("no");
      },
      removeItem: () => {
        throw new Error("no");
      },
    };
    for (const storage of [null, broken]) {
      const settings = new KeptSettings(storage, page);
      settings.change({ theme: "dark" });
      expect(settings.value.value.theme).toBe("dark");
    }
  });
});

describe("keyInAddress", () => {
  it.each([
    ["http://h/#key=hgw_1", "hgw_1", "http://h/"],
    ["http://h/?a=1#b&key=hgw_1&c", "hgw_1", "http://h/?a=1#b&c"],
    ["http://h/#key=a%2Bb", "a+b", "http://h/"],
    ["http://h/#key=%zz", "%zz", "http://h/"],
    ["http://h/#other", null, "http://h/#other"],
    ["http://h/", null, "http://h/"],
  ])("takes the key out of %s", (address, key, bare) => {
    expect(keyInAddress(address)).toEqual({ key, address: bare });
  });
});
