// @vitest-environment node
import { IDBFactory } from "fake-indexeddb";
import { describe, expect, it } from "vitest";
import type { Attempt, Thread, Turn } from "../model";
import { ChunkBatch, chunksOf } from "./attempts";
import { Bodies } from "./bodies";
import { leaveBehind, takeUp } from "./journal";
import { DatabaseShelf, MemoryShelf, openShelf, type Shelf } from "./shelf";
import { MemoryStorage } from "./testing";

const row = <T>(fields: object): T => fields as T;
const kinds: [string, () => Promise<Shelf>][] = [
  ["DatabaseShelf", () => DatabaseShelf.open(new IDBFactory())],
  ["MemoryShelf", async () => new MemoryShelf()],
];

describe.each(kinds)("%s", (_, open) => {
  it("gives back what was put on it, and of each thread only its own", async () => {
    const shelf = await open();
    const batch = new ChunkBatch("a1", "t1");
    batch.add(Uint8Array.of(1, 2), 5);
    batch.add(Uint8Array.of(3), 6);
    const first = batch.take();
    batch.add(Uint8Array.of(4), 9);
    await shelf.write({
      threads: [row<Thread>({ id: "t1" }), row<Thread>({ id: "t2" })],
      turns: [row<Turn>({ id: "u1", thread: "t1" }), row<Turn>({ id: "u2", thread: "t2" })],
      attempts: [row<Attempt>({ id: "a1", thread: "t1" })],
      requests: [{ attempt: "a1", thread: "t1", body: "body" }],
      chunks: [...batch.take(), ...first],
    });
    expect(await shelf.threads()).toHaveLength(2);
    expect(await shelf.thread("t1")).toMatchObject({ turns: [{ id: "u1" }], attempts: [{ id: "a1" }] });
    expect(await shelf.request("a1")).toBe("body");
    expect(await shelf.request("none")).toBe("");
    const chunks = [...chunksOf(await shelf.chunks("a1"))];
    expect(chunks.map(({ bytes, atMs }) => [[...bytes], atMs])).toEqual([
      [[1, 2], 5],
      [[3], 6],
      [[4], 9],
    ]);
    await shelf.remove("t1");
    expect(await shelf.threads()).toEqual([{ id: "t2" }]);
    expect(await shelf.thread("t1")).toEqual({ turns: [], attempts: [] });
    expect(await shelf.chunks("a1")).toEqual([]);
    expect(await shelf.request("a1")).toBe("");
    const seen: string[] = [];
    await shelf.eachTurn((turn) => seen.push(turn.id) > 0);
    expect(seen).toEqual(["u2"]);
    shelf.close();
  });

  it("keeps of a growing conversation's bodies what is new, and gives back each as it was sent", async () => {
    const shelf = await open();
    const bodies = new Bodies("t1");
    const sent = Array.from({ length: 100 }, (_, turns) =>
      JSON.stringify({ messages: Array.from({ length: turns }, (_, at) => `${at} ${"words ".repeat(50)}`), stream: true }),
    );
    const rows = sent.map((body, at) => bodies.row(`a${at}`, body));
    await shelf.write({ requests: rows });
    for (const [at, body] of sent.entries()) expect(await shelf.request(`a${at}`)).toBe(body);
    const all = (texts: readonly string[]): number => texts.reduce((sum, text) => sum + text.length, 0);
    expect(all(rows.map(({ body }) => body))).toBeLessThan(all(sent) / 8);
    // One that was edited shares its beginning too, and one of other words nothing.
    expect(bodies.row("edited", sent[50]!.replace("words", "deeds")).begins).toBeUndefined();
    shelf.close();
  });

  it("shows turns until it is told to stop", async () => {
    const shelf = await open();
    await shelf.write({ turns: ["a", "b", "c"].map((id) => row<Turn>({ id, thread: "t" })) });
    let seen = 0;
    await shelf.eachTurn(() => (seen += 1) < 2);
    expect(seen).toBe(2);
    shelf.close();
  });
});

describe("openShelf", () => {
  it("falls back to memory where there is no database, or one that fails", async () => {
    const failing = {
      open: () => {
        throw new Error("no");
      },
    } as unknown as IDBFactory;
    expect((await openShelf(null)).durable).toBe(false);
    expect((await openShelf(failing as unknown as globalThis.IDBFactory)).durable).toBe(false);
    expect((await openShelf(new IDBFactory())).durable).toBe(true);
  });
});

describe("the journal", () => {
  it("hands what was left behind to the next page, once, byte for byte", () => {
    const storage = new MemoryStorage();
    const bytes = Uint8Array.from({ length: 20_000 }, (_, index) => index % 256);
    leaveBehind(storage, [
      {
        threads: [row<Thread>({ id: "t" })],
        chunks: [{ attempt: "a", thread: "t", place: 3, bytes, marks: [1, bytes.length] }],
      },
    ]);
    const [writing] = takeUp(storage);
    expect(writing!.threads).toEqual([{ id: "t" }]);
    expect(writing!.chunks![0]!.bytes).toEqual(bytes);
    expect(takeUp(storage)).toEqual([]);
  });

  it("hands over the newest of it where there is no room for all", () => {
    const storage = new MemoryStorage();
    const setItem = storage.setItem.bind(storage);
    storage.setItem = (name, value) => {
      if (value.length > 400) throw new Error("no room");
      setItem(name, value);
    };
    const writings = [..."abcdefgh"].map((id) => ({ threads: [row<Thread>({ id, title: "x".repeat(80) })] }));
    leaveBehind(storage, writings);
    expect(takeUp(storage).map(({ threads }) => threads![0]!.id)).toEqual(["g", "h"]);
  });
});
