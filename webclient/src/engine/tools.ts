// Definitions of tools: what the editor accepts, and whether a call fits its tool.

import type { Json } from "../model";
import type { ToolDefinition, ToolsProblem } from "./api";
import { type Fields, fieldsOf, judge, listIn, parsed } from "./json";

const MOST = 128;
const NAME = /^[A-Za-z0-9_.-]{1,64}$/;

export type ToolsVerdict =
  | { readonly tools: readonly ToolDefinition[]; readonly problem: null }
  | { readonly tools: readonly []; readonly problem: ToolsProblem };

/** The tools of a text as it stands in the editor. Blank is none. Both Chat Completions' and Responses' forms are read. */
export function checkTools(text: string): ToolsVerdict {
  if (text.trim() === "") return { tools: [], problem: null };
  const value = parsed(text);
  if (value === undefined) {
    const verdict = judge(text);
    return wrong({ kind: "notJson", at: verdict.kind === "broken" ? verdict.at : text.length });
  }
  if (!Array.isArray(value)) return wrong({ kind: "notAList" });
  if (value.length > MOST) return wrong({ kind: "tooMany", most: MOST });
  const tools: ToolDefinition[] = [];
  for (const [index, entry] of value.entries()) {
    const tool = definition(entry);
    if (typeof tool === "string") return wrong({ kind: "badTool", index, fault: tool });
    if (tools.some((other) => other.function.name === tool.function.name)) {
      return wrong({ kind: "badTool", index, fault: "duplicateName" });
    }
    tools.push(tool);
  }
  return { tools, problem: null };
}

const wrong = (problem: ToolsProblem): ToolsVerdict => ({ tools: [], problem });

type Fault = Extract<ToolsProblem, { kind: "badTool" }>["fault"];

function definition(entry: unknown): ToolDefinition | Fault {
  const tool = fieldsOf(entry);
  if (!tool) return "notAnObject";
  if (tool.type !== "function") return "notAFunction";
  const inner = "function" in tool ? fieldsOf(tool.function) : tool;
  if (!inner) return "notAFunction";
  const { name, description, parameters, strict } = inner;
  if (typeof name !== "string" || !NAME.test(name)) return "badName";
  if (description !== undefined && typeof description !== "string") return "badDescription";
  const schema = parameters === undefined ? undefined : fieldsOf(parameters);
  if (schema === null || (schema && "type" in schema && schema.type !== "object")) return "badParameters";
  return {
    type: "function",
    function: {
      name,
      ...(description === undefined ? {} : { description }),
      ...(schema === undefined ? {} : { parameters: schema as { [key: string]: Json } }),
      ...(typeof strict === "boolean" ? { strict } : {}),
    },
  };
}

/**
 * Whether a value can be what a schema describes, as far as types, required fields and enumerations go. What it does not
 * understand, it lets pass: a false alarm costs more trust than a missed one.
 */
export function fits(value: unknown, schema: unknown, depth = 0): boolean {
  const rules = fieldsOf(schema);
  if (!rules || depth > 32 || "$ref" in rules || "anyOf" in rules || "oneOf" in rules) return true;
  if (Array.isArray(rules.enum) && !rules.enum.some((one) => JSON.stringify(one) === JSON.stringify(value)))
    return false;
  const types = typeof rules.type === "string" ? [rules.type] : listIn(rules.type);
  if (types.length > 0 && !types.some((type) => isOf(value, type))) return false;
  const fields = fieldsOf(value);
  if (fields) return fieldsFit(fields, rules, depth);
  return !Array.isArray(value) || value.every((entry) => fits(entry, rules.items, depth + 1));
}

function fieldsFit(fields: Fields, rules: Fields, depth: number): boolean {
  const properties = fieldsOf(rules.properties) ?? {};
  const complete = listIn(rules.required).every((name) => typeof name !== "string" || Object.hasOwn(fields, name));
  const known =
    rules.additionalProperties !== false || Object.keys(fields).every((name) => Object.hasOwn(properties, name));
  return (
    complete &&
    known &&
    Object.entries(fields).every(
      ([name, inner]) => !Object.hasOwn(properties, name) || fits(inner, properties[name], depth + 1),
    )
  );
}

function isOf(value: unknown, type: unknown): boolean {
  switch (type) {
    case "object":
      return fieldsOf(value) !== null;
    case "array":
      return Array.isArray(value);
    case "string":
    case "boolean":
      return typeof value === type;
    case "number":
      return typeof value === "number";
    case "integer":
      return typeof value === "number" && Number.isInteger(value);
    case "null":
      return value === null;
    default:
      return true;
  }
}
