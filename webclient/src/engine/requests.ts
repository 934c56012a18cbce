// Bodies of requests: a branch of turns and the settings, as either protocol wants them.

import type { AgentMessage, Item, Json, Sampling, Settings, ToolCall, Turn } from "../model";
import type { ToolDefinition } from "./api";
import { checkTools } from "./tools";

export interface Asked {
  readonly protocol: "chat" | "responses";
  readonly model: string;
  readonly settings: Settings;
  /** The branch up to the turn that is asked for, that turn included. */
  readonly turns: readonly Pick<Turn, "items" | "state">[];
  /** The last message is a part of the answer, to be gone on with. */
  readonly continues: boolean;
}

type Fields = { [key: string]: Json };

/** The tools that would be offered now. */
export function offeredTools(settings: Settings): readonly ToolDefinition[] {
  return settings.tools ? checkTools(settings.toolDefinitions).tools : [];
}

export function requestBody(asked: Asked): Fields {
  return asked.protocol === "chat" ? chatBody(asked) : responsesBody(asked);
}

/** Where it is sent. */
export const pathOf = (protocol: "chat" | "responses"): string =>
  protocol === "chat" ? "/v1/chat/completions" : "/v1/responses";

// -------------------------------------------------------------------------------------------------- the conversation

/** What one attempt brought: text, and the calls that were answered. */
interface Step {
  readonly text: string;
  readonly calls: readonly (ToolCall & { result: NonNullable<ToolCall["result"]> })[];
}

/** The user's words of a turn and what the model did then; null for a turn that came to nothing, which is left out. */
function spoken(
  turn: Pick<Turn, "items" | "state">,
  isLast: boolean,
): { prompt: string; steps: readonly Step[] } | null {
  const prompt = turn.items.find((item) => item.kind === "userMessage")?.text ?? "";
  const steps = stepsOf(turn.items);
  return steps.length === 0 && !isLast && turn.state.kind === "failed" ? null : { prompt, steps };
}

/** Text and calls in the order they came; a call begins its step's end, and text after it the next step. */
function stepsOf(items: readonly Item[]): Step[] {
  const steps: { text: string; calls: Step["calls"][number][]; attempt: string | null }[] = [];
  for (const item of items) {
    const isText = item.kind === "agentMessage" && item.choice === 0 && item.text !== "";
    const isCall = item.kind === "toolCall" && item.choice === 0 && item.result !== null;
    if (!isText && !isCall) continue;
    let step = steps.at(-1);
    if (
      !step ||
      (step.attempt !== item.attempt && !(isText && step.calls.length === 0)) ||
      (isText && step.calls.length > 0)
    ) {
      step = { text: "", calls: [], attempt: item.attempt };
      steps.push(step);
    }
    if (isText) step.text += (item as AgentMessage).text;
    else step.calls.push(item as Step["calls"][number]);
  }
  return steps;
}

/** A call's id as it is sent back: one of ours where the server gave none. */
const idOf = (call: ToolCall): string => call.callId || `call_${call.id}`;

// ------------------------------------------------------------------------------------------------------------- chat

function chatBody({ model, settings, turns, continues }: Asked): Fields {
  const messages: Json[] = [];
  if (settings.systemPrompt.trim()) messages.push({ role: "system", content: settings.systemPrompt });
  turns.forEach((turn, index) => {
    const words = spoken(turn, index === turns.length - 1);
    if (!words) return;
    messages.push({ role: "user", content: words.prompt });
    messages.push(...words.steps.flatMap(chatMessages));
  });
  const tools = offeredTools(settings);
  return {
    model,
    messages,
    stream: settings.stream,
    ...(settings.stream && settings.includeUsage ? { stream_options: { include_usage: true } } : {}),
    ...(tools.length > 0
      ? {
          tools: tools as unknown as Json,
          tool_choice: settings.toolChoice,
          parallel_tool_calls: settings.parallelToolCalls,
        }
      : {}),
    ...chatSampling(settings.sampling),
    ...(continues ? { continue_final_message: true, add_generation_prompt: false } : {}),
  };
}

function chatMessages(step: Step): Json[] {
  if (step.calls.length === 0) return [{ role: "assistant", content: step.text }];
  const calls = step.calls.map((call) => ({
    id: idOf(call),
    type: "function",
    function: { name: call.name, arguments: call.arguments || "{}" },
  }));
  const results = step.calls.map((call) => ({ role: "tool", tool_call_id: idOf(call), content: call.result.text }));
  return [{ role: "assistant", content: step.text || null, tool_calls: calls }, ...results];
}

/** Only what is set is sent. */
const given = (fields: Readonly<Record<string, Json | undefined>>): Fields =>
  Object.fromEntries(
    Object.entries(fields).filter((field): field is [string, Json] => field[1] !== null && field[1] !== undefined),
  );

function chatSampling(sampling: Sampling): Fields {
  return given({
    temperature: sampling.temperature,
    max_tokens: sampling.maxTokens,
    top_p: sampling.topP,
    top_k: sampling.topK,
    min_p: sampling.minP,
    frequency_penalty: sampling.frequencyPenalty,
    presence_penalty: sampling.presencePenalty,
    repetition_penalty: sampling.repetitionPenalty,
    seed: sampling.seed,
    stop: sampling.stop.length > 0 ? [...sampling.stop] : null,
    min_tokens: sampling.minTokens,
    ignore_eos: sampling.ignoreEos,
    logprobs: sampling.logprobs === null ? null : true,
    top_logprobs: sampling.logprobs,
  });
}

// -------------------------------------------------------------------------------------------------------- responses

function responsesBody({ model, settings, turns, continues }: Asked): Fields {
  const input: Fields[] = [];
  turns.forEach((turn, index) => {
    const words = spoken(turn, index === turns.length - 1);
    if (!words) return;
    input.push({ type: "message", role: "user", content: [{ type: "input_text", text: words.prompt }] });
    input.push(...words.steps.flatMap(responsesItems));
  });
  // An unfinished message at the end is gone on with.
  if (continues) input.push({ ...input.pop()!, status: "incomplete" });
  const tools = offeredTools(settings);
  return {
    model,
    ...(settings.systemPrompt.trim() ? { instructions: settings.systemPrompt } : {}),
    input,
    stream: settings.stream,
    store: false,
    ...(tools.length > 0
      ? {
          tools: tools.map(({ function: tool }) => ({ type: "function", ...tool })) as unknown as Json,
          tool_choice: settings.toolChoice,
          parallel_tool_calls: settings.parallelToolCalls,
        }
      : {}),
    ...responsesSampling(settings.sampling),
  };
}

function responsesItems(step: Step): Fields[] {
  const said: Fields[] = step.text
    ? [
        {
          type: "message",
          role: "assistant",
          status: "completed",
          content: [{ type: "output_text", text: step.text, annotations: [] }],
        },
      ]
    : [];
  const calls = step.calls.map((call) => ({
    type: "function_call",
    call_id: idOf(call),
    name: call.name,
    arguments: call.arguments || "{}",
  }));
  const results = step.calls.map((call) => ({
    type: "function_call_output",
    call_id: idOf(call),
    output: call.result.text,
  }));
  return [...said, ...calls, ...results];
}

/** Fields that Responses has no place for are vLLM's own there too. */
function responsesSampling(sampling: Sampling): Fields {
  return given({
    temperature: sampling.temperature,
    max_output_tokens: sampling.maxTokens,
    top_p: sampling.topP,
    top_k: sampling.topK,
    frequency_penalty: sampling.frequencyPenalty,
    presence_penalty: sampling.presencePenalty,
    repetition_penalty: sampling.repetitionPenalty,
    seed: sampling.seed,
    stop: sampling.stop.length > 0 ? [...sampling.stop] : null,
    ignore_eos: sampling.ignoreEos,
    top_logprobs: sampling.logprobs,
  });
}
