// One request and its answer, as it goes over the wire.

import type { Header } from "../model";

export interface Sink {
  /** Times are milliseconds since the request was sent. */
  head(status: number, statusText: string, headers: readonly Header[], atMs: number): void;
  bytes(bytes: Uint8Array, atMs: number): void;
  /** The body is whole. */
  ended(atMs: number): void;
  /** No answer, or one that broke off; also if it was given up. */
  broken(atMs: number): void;
}

export interface Outgoing {
  readonly url: string;
  readonly headers: readonly Header[];
  readonly body: string;
  readonly signal: AbortSignal;
}

type Fetch = (url: string, init: RequestInit) => Promise<Response>;

/** Sends it and tells the sink of everything that comes back, to the end. Never rejects. */
export async function exchange(fetch: Fetch, elapsed: () => number, outgoing: Outgoing, sink: Sink): Promise<void> {
  const began = elapsed();
  const since = (): number => elapsed() - began;
  let ended = false;
  try {
    const response = await fetch(outgoing.url, {
      method: "POST",
      headers: outgoing.headers.map(([name, value]): [string, string] => [name, value]),
      body: outgoing.body,
      signal: outgoing.signal,
      cache: "no-store",
      credentials: "omit",
      redirect: "error",
      referrerPolicy: "no-referrer",
    });
    sink.head(response.status, response.statusText, [...response.headers], since());
    const reader = response.body?.getReader();
    for (;;) {
      const part = await reader?.read();
      if (!part || part.done) break;
      sink.bytes(part.value, since());
    }
    ended = true;
  } catch {
    sink.broken(since());
  }
  if (ended) sink.ended(since());
}
