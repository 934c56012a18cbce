// The words of the settings: they come with the dialogs, and not with the page.

import { count } from "../format";
import { plural } from "../strings";

export const words = {
  sections: {
    connection: "Connection",
    request: "Request",
    sampling: "Sampling",
    tools: "Tools",
    memory: "Memory",
    privacy: "Privacy",
    page: "This page",
  },
  kept: { browser: "kept in this browser", tab: "kept in this tab", nowhere: "not kept" },
  reset: "Reset all",
  reset_words: "Puts everything but the key back to what the gateway and vLLM have.",
  base_url: "Address of the gateway",
  base_url_hint: "Empty: where this page comes from.",
  not_reachable:
    "This page's policy does not let it call that address. The gateway must list it, or serve the page itself.",
  request_id: "Header of the request id",
  session_id: "Header of the session id",
  header_hint: (name: string) => `Empty: ${name}, as the gateway says.`,
  default_model: "Default model",
  default_model_hint: (n: number) =>
    n === 0 ? "The gateway has not listed its models yet." : `${plural(n, "model", "models")} to choose from.`,
  gateway_default: (name: string) => (name ? `As the gateway says: ${name}` : "As the gateway says"),
  engine: "Protocol of new sessions",
  stream: "Stream answers",
  include_usage: "Ask for the usage of streams",
  auto_retry: "Retry by itself when a server asks to wait",
  system_prompt: "System prompt",
  sampling_hint: "Empty fields are not sent; the server's defaults are in the fields.",
  sampling: {
    temperature: "Temperature",
    maxTokens: "Most output tokens",
    topP: "Top p",
    topK: "Top k",
    minP: "Min p",
    frequencyPenalty: "Frequency penalty",
    presencePenalty: "Presence penalty",
    repetitionPenalty: "Repetition penalty",
    seed: "Seed",
    minTokens: "Fewest output tokens",
    logprobs: "Log probabilities",
  },
  stop: "Stop at these texts",
  stop_hint: "One a line.",
  ignore_eos: "Go on after the end of text",
  unset: "not sent",
  yes: "yes",
  no: "no",
  tools: "Offer tools to the model",
  tool_definitions: "Tool definitions",
  tool_definitions_hint: (n: number) =>
    `A JSON list, in the form of Chat Completions or of Responses. ${n === 0 ? "None yet." : `${plural(n, "tool", "tools")}.`}`,
  tool_example: "Insert an example",
  tool_format: "Format",
  tool_choice: "Tool choice",
  parallel: "Several calls in one answer",
  memory_tools: "Further memory tools",
  memory_tools_hint: "Names, one a line. Those of HADES and Letta are known.",
  redaction: "Show and export payloads as shapes until revealed",
  telemetry: "Write names and numbers of events to the browser's console",
  telemetry_hint: "Never texts. Nothing is sent anywhere.",
  theme: "Theme",
  themes: { system: "As the system", light: "Light", dark: "Dark" },
  shortcuts: "Single letters as shortcuts",
  problem: {
    notAnAddress: "This is no http(s) address.",
    notAHeaderName: "This is no name of a header.",
    notAWholeNumber: "A whole number is needed.",
    outOfRange: (least: number | undefined, most: number | undefined) =>
      least === undefined
        ? `At most ${most}.`
        : most === undefined
          ? `At least ${least}.`
          : `From ${least} to ${most}.`,
    tools: {
      notJson: (at: number) => `No JSON from character ${count(at)} on.`,
      notAList: "A list is needed: [ … ].",
      tooMany: (most: number) => `At most ${most} tools.`,
      badTool: {
        notAnObject: "is no object",
        notAFunction: "is no function",
        badName: "needs a name of letters, digits, _ and -, of 64 at most",
        duplicateName: "has the name of another",
        badParameters: "needs a schema of type object as its parameters",
        badDescription: "needs a text as its description",
      },
      which: (index: number) => `Tool ${index + 1}`,
    },
  },
};
