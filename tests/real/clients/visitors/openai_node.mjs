// Acts of OpenAI's library for Node; see `visitor.py` for the manner.  Runs beside that library's node_modules.

import { createInterface } from "node:readline";
import OpenAI from "openai";

async function models(client, heard) {
  heard.ids = [];
  for await (const model of client.models.list()) heard.ids.push(model.id);
}

async function files(client, heard) {
  heard.ids = [];
  for await (const file of client.files.list()) heard.ids.push(file.id);
}

async function embeddings(client, heard, { model, texts }) {
  const answer = await client.embeddings.create({ model, input: texts });
  heard.vectors = answer.data.map((item) => item.embedding);
  heard.tokens = answer.usage.prompt_tokens;
}

async function chat(client, heard, order) {
  const answer = await client.chat.completions.create(order);
  const choice = answer.choices[0];
  heard.request_id = answer._request_id;
  heard.text = choice.message.content ?? "";
  heard.calls = (choice.message.tool_calls ?? []).map(({ function: called }) => ({
    name: called.name,
    arguments: called.arguments,
  }));
  heard.finish = choice.finish_reason;
  heard.tokens = answer.usage.completion_tokens;
}

async function chat_stream(client, heard, { leave_after = 0, ...order }) {
  Object.assign(heard, { text: "", calls: [], finish: null, tokens: null, pieces: 0 });
  const { data: stream, request_id } = await client.chat.completions.create({ ...order, stream: true }).withResponse();
  heard.request_id = request_id;
  for await (const chunk of timed(stream, heard)) {
    if (chunk.usage) heard.tokens = chunk.usage.completion_tokens;
    for (const choice of chunk.choices) {
      heard.text += choice.delta.content ?? "";
      heard.finish = choice.finish_reason ?? heard.finish;
      for (const call of choice.delta.tool_calls ?? []) addCall(heard.calls, call);
    }
    if (heard.pieces === leave_after) return;
  }
}

function addCall(calls, delta) {
  calls[delta.index] ??= { name: delta.function.name, arguments: "", pieces: 0 };
  if (delta.function.arguments) {
    calls[delta.index].arguments += delta.function.arguments;
    calls[delta.index].pieces += 1;
  }
}

async function responses(client, heard, order) {
  const answer = await client.responses.create(order);
  heard.request_id = answer._request_id;
  tellResponse(answer, answer.output_text, heard);
}

async function responses_stream(client, heard, order) {
  Object.assign(heard, { text: "", types: [], pieces: 0 });
  const { data: stream, request_id } = await client.responses.create({ ...order, stream: true }).withResponse();
  heard.request_id = request_id;
  for await (const event of timed(stream, heard)) {
    heard.types.push(event.type);
    if (event.type === "response.output_text.delta") heard.text += event.delta;
    if (event.type === "response.completed") tellResponse(event.response, heard.text, heard);
    if (event.type === "response.failed") heard.failure = event.response.error.message;
  }
}

function tellResponse(answer, text, heard) {
  heard.text = text;
  heard.calls = answer.output
    .filter((item) => item.type === "function_call")
    .map((item) => ({ name: item.name, arguments: item.arguments }));
  heard.finish = answer.status;
  heard.tokens = answer.usage.output_tokens;
}

// The pieces of a stream, counted, and the seconds between the first and the last.
async function* timed(stream, heard) {
  let began;
  for await (const piece of stream) {
    began ??= performance.now();
    heard.pieces += 1;
    heard.seconds = (performance.now() - began) / 1000;
    yield piece;
  }
}

// An exception as its catcher sees it.
function told(problem) {
  const kinds = [];
  for (let at = problem; at && at !== Object.prototype; at = Object.getPrototypeOf(at)) {
    if (Object.hasOwn(at, "constructor")) kinds.push(at.constructor.name);
  }
  return {
    kinds,
    status: problem.status ?? null,
    message: String(problem.message),
    code: problem.code ?? null,
    type: problem.type ?? null,
    body: problem.error ?? null,
    request_id: problem.requestID ?? null,
  };
}

const ACTS = { models, files, embeddings, chat, chat_stream, responses, responses_stream };

async function perform({ act, settings, arguments: order }) {
  const heard = {};
  const client = new OpenAI({
    baseURL: settings.base_url,
    apiKey: settings.api_key,
    maxRetries: settings.max_retries,
    defaultHeaders: settings.default_headers,
  });
  try {
    await ACTS[act](client, heard, order);
    return { heard, raised: null };
  } catch (problem) {
    return { heard, raised: told(problem) };
  }
}

for await (const line of createInterface({ input: process.stdin })) {
  console.log(JSON.stringify(await perform(JSON.parse(line))));
}
