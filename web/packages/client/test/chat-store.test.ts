import { afterEach, describe, expect, test } from "vitest";
import { ChatStore, requestOf, runningAnswer, type Answer, type ChatStorage } from "../src/chat-store.ts";
import { HeadraceError } from "../src/errors.ts";
import { textOf } from "../src/fold.ts";
import { HttpTransport, type Transport } from "../src/transport.ts";
import { scriptedServer, words, type ScriptedServer, type Script } from "./server.ts";

class MemoryStorage implements ChatStorage {
  readonly items = new Map<string, string>();
  limit = Infinity;
  get length() {
    return this.items.size;
  }
  key(index: number) {
    return [...this.items.keys()][index] ?? null;
  }
  getItem(key: string) {
    return this.items.get(key) ?? null;
  }
  setItem(key: string, value: string) {
    if (value.length > this.limit) throw new DOMException("full", "QuotaExceededError");
    this.items.set(key, value);
  }
  removeItem(key: string) {
    this.items.delete(key);
  }
}

const TEXT = "One two three four five six seven.";
const schedule = (task: () => void) => void setTimeout(task, 0);

let servers: ScriptedServer[] = [];
afterEach(async () => {
  await Promise.all(servers.map((server) => server.close()));
  servers = [];
});

async function serve(script: (prompt: string) => Script, slice?: number): Promise<ScriptedServer> {
  const server = await scriptedServer({ script, ...(slice === undefined ? {} : { slice }) });
  servers.push(server);
  return server;
}

function storeOn(server: ScriptedServer, storage: ChatStorage = new MemoryStorage()): ChatStore {
  return new ChatStore({ transport: new HttpTransport({ base: server.url, retryMs: [] }), storage, schedule });
}

/** Waits until `ready` gives something, asking again whenever the store or the run tells of a change. */
async function until<T>(store: ChatStore, ready: () => T | undefined | false): Promise<T> {
  return await new Promise<T>((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error("it did not happen within 5 s")), 5_000);
    const unsubscribe = new Set<() => void>();
    const watched = new Set<string>();
    const look = () => {
      for (const message of store.getSnapshot().current?.messages ?? []) {
        if (message.role === "assistant" && message.run !== undefined && !watched.has(message.run)) {
          watched.add(message.run);
          unsubscribe.add(store.view(message.run).subscribe(look));
        }
      }
      const value = ready();
      if (value === undefined || value === false) return;
      clearTimeout(timer);
      unsubscribe.forEach((stop) => stop());
      resolve(value);
    };
    unsubscribe.add(store.subscribe(look));
    look();
  });
}

function answer(store: ChatStore): Answer {
  return store.getSnapshot().current?.messages.findLast((message) => message.role === "assistant") as Answer;
}

const finished = (store: ChatStore) => until(store, () => answer(store)?.state);
const started = (store: ChatStore) => until(store, () => answer(store)?.run);

test("asks, streams, keeps; and the next question carries what was said", async () => {
  const server = await serve(() => words(TEXT, "b1", 1), 3);
  const storage = new MemoryStorage();
  const store = storeOn(server, storage);
  const id = store.send("  Count   please ", { model: "demo", system: "Be brief." });
  expect(runningAnswer(store.getSnapshot().current)).toBeDefined();
  expect(textOf(await finished(store))).toBe(TEXT);
  expect(store.getSnapshot().current).toMatchObject({ id, title: "Count please" });

  store.send("Again", { model: "demo", max_tokens: 9, fallbacks: ["other"] });
  const conversation = store.getSnapshot().current!;
  expect(requestOf(conversation, answer(store))).toEqual({
    model: "demo",
    max_tokens: 9,
    fallbacks: ["other"],
    conversation: id,
    metadata: {},
    on_disconnect: "continue",
    messages: [
      { role: "user", content: "  Count   please " },
      { role: "assistant", content: TEXT },
      { role: "user", content: "Again" },
    ],
  });
  await finished(store);

  const reloaded = storeOn(server, storage);
  reloaded.open(id);
  expect(reloaded.getSnapshot().current).toEqual(store.getSnapshot().current);
});

describe("a page that is closed and opened again", () => {
  test("in the middle of an answer loses nothing and starts nothing twice", async () => {
    const server = await serve(() => words(TEXT, "b1", 20));
    const storage = new MemoryStorage();
    const before = storeOn(server, storage);
    const id = before.send("Count", {});
    const run = await started(before);
    await until(before, () => textOf(before.view(run).getSnapshot().state).length > 5);
    before.view(run).detach();

    const after = storeOn(server, storage);
    after.open(id);
    expect(textOf(await finished(after))).toBe(TEXT);
    expect(server.runs()).toBe(1);
  });

  test("before the POST was answered asks again with the same key", async () => {
    const server = await serve(() => words(TEXT, "b1", 0));
    const storage = new MemoryStorage();
    const http = new HttpTransport({ base: server.url });
    let reached = () => {};
    const posted = new Promise<void>((resolve) => (reached = resolve));
    const never: Transport = {
      start: (body, options) =>
        http
          .start(body, options)
          .then(reached)
          .then(() => new Promise(() => {})),
      follow: http.follow.bind(http),
      cancel: http.cancel.bind(http),
    };
    const before = new ChatStore({ transport: never, storage, schedule });
    const id = before.send("Count", {});
    await posted;

    const after = storeOn(server, storage);
    after.open(id);
    expect(textOf(await finished(after))).toBe(TEXT);
    expect(server.runs()).toBe(1);
  });
});

test("a connection that is cut again and again loses nothing", async () => {
  const server = await serve(() => words(TEXT.repeat(20), "b1", 2));
  const store = storeOn(server);
  store.send("Count", {});
  const run = await started(store);
  const cutting = setInterval(() => server.cut(), 40);
  try {
    expect(textOf(await finished(store))).toBe(TEXT.repeat(20));
  } finally {
    clearInterval(cutting);
  }
  expect(store.view(run).getSnapshot().state.unknown).toBe(0);
});

test("two tabs on one answer show the same", async () => {
  const server = await serve(() => words(TEXT, "b1", 10));
  const storage = new MemoryStorage();
  const one = storeOn(server, storage);
  const two = storeOn(server, storage);
  const id = one.send("Count", {});
  await started(one);
  two.takeOver(`headrace:conversation:${id}`);
  two.open(id);
  expect(textOf(await finished(two))).toBe(TEXT);
  expect(textOf(await finished(one))).toBe(TEXT);
  expect(server.runs()).toBe(1);
  const stored = JSON.parse(storage.getItem(`headrace:conversation:${id}`)!) as { messages: unknown[] };
  expect(stored.messages).toHaveLength(2);
  storage.removeItem(`headrace:conversation:${id}`);
  two.takeOver(`headrace:conversation:${id}`);
  expect(two.getSnapshot().conversations).toEqual([]);
});

test("what another tab wrote meanwhile is kept", async () => {
  const server = await serve(() => words("x", "b1", 0));
  const storage = new MemoryStorage();
  const one = storeOn(server, storage);
  const id = one.send("First", {});
  await finished(one);
  const two = storeOn(server, storage);
  two.open(id);
  two.send("Second", {});
  await finished(two);
  one.send("Third", {});
  const asked = one
    .getSnapshot()
    .current!.messages.filter((message) => message.role === "user")
    .map((message) => message.text);
  expect(asked).toEqual(["First", "Second", "Third"]);
  await finished(one);
});

describe("stop", () => {
  test("while it streams", async () => {
    const server = await serve(() => words(TEXT.repeat(50), "b1", 10));
    const store = storeOn(server);
    store.send("Count", {});
    const run = await started(store);
    await until(store, () => store.view(run).getSnapshot().state.blocks.length > 0);
    await store.stop();
    const state = await finished(store);
    expect(state.outcome).toBe("cancelled");
    expect(TEXT.repeat(50).startsWith(textOf(state))).toBe(true);
  });

  test("before the run has a name", async () => {
    const server = await serve(() => words(TEXT.repeat(50), "b1", 10));
    const store = storeOn(server);
    store.send("Count", {});
    await store.stop();
    expect((await finished(store)).outcome).toBe("cancelled");
  });
});

test("a refused question says why and can be asked again", async () => {
  let refuse = true;
  const server = await serve(() => words(TEXT, "b1", 0));
  const http = new HttpTransport({ base: server.url });
  const transport: Transport = {
    start: (body, options) =>
      refuse ? Promise.reject(new HeadraceError("too-many", "full", { status: 429 })) : http.start(body, options),
    follow: http.follow.bind(http),
    cancel: http.cancel.bind(http),
  };
  const store = new ChatStore({ transport, storage: new MemoryStorage(), schedule });
  store.send("Count", {});
  const problem = await until(store, () => answer(store).problem);
  expect(problem).toEqual({ code: "too-many", message: "full" });
  expect(runningAnswer(store.getSnapshot().current)).toBeUndefined();
  refuse = false;
  store.retry({});
  expect(textOf(await finished(store))).toBe(TEXT);
  expect(store.getSnapshot().current?.messages).toHaveLength(2);
});

test("a run whose events are gone is taken from what is known of it", async () => {
  const transport: Transport = {
    start: async () => ({ run: "run_1" }),
    // eslint-disable-next-line require-yield
    follow: async function* () {
      throw new HeadraceError("retention-passed", "gone", { status: 410 });
    },
    cancel: async () => ({ run: "run_1" }),
    get: async () => ({ run: "run_1", status: "ended", outcome: "completed", result: { text: TEXT } }),
  };
  const store = new ChatStore({ transport, storage: new MemoryStorage(), schedule });
  store.send("Count", {});
  expect(textOf(await finished(store))).toBe(TEXT);
});

test("a run that broke off with its server ends, and keeps what was shown of it", async () => {
  const transport: Transport = {
    start: async () => ({ run: "run_1" }),
    follow: async function* () {
      yield { run: "run_1", seq: 1, type: "text-start", block: "b" };
      yield { run: "run_1", seq: 2, type: "text-delta", block: "b", delta: "One two" };
      throw new HeadraceError("run-not-found", "the log is gone", { status: 404 });
    },
    cancel: async () => ({ run: "run_1" }),
    get: async () => ({
      run: "run_1",
      status: "ended",
      outcome: "interrupted",
      error: { code: "interrupted", message: "the worker died" },
    }),
  };
  const store = new ChatStore({ transport, storage: new MemoryStorage(), schedule });
  store.send("Count", {});
  const state = await finished(store);
  expect(textOf(state)).toBe("One two");
  expect(state).toMatchObject({ outcome: "interrupted", error: { code: "interrupted" } });
  expect(state.blocks[0]?.done).toBe(true);
});

test("a run that is not known any more is a problem that ends the waiting", async () => {
  const transport: Transport = {
    start: async () => ({ run: "run_1" }),
    // eslint-disable-next-line require-yield
    follow: async function* () {
      throw new HeadraceError("run-not-found", "no such run", { status: 404 });
    },
    cancel: async () => ({ run: "run_1" }),
    get: async () => Promise.reject(new HeadraceError("run-not-found", "no such run", { status: 404 })),
  };
  const store = new ChatStore({ transport, storage: new MemoryStorage(), schedule });
  store.send("Count", {});
  expect(await until(store, () => answer(store).problem)).toMatchObject({ code: "run-not-found" });
});

test("a log merged across our place is read again from the start", async () => {
  let reads = 0;
  const transport: Transport = {
    start: async () => ({ run: "run_1" }),
    follow: async function* () {
      reads += 1;
      yield { run: "run_1", seq: 1, type: "text-start", block: "b" };
      yield { run: "run_1", seq: 2, type: "text-delta", block: "b", delta: "One " };
      if (reads === 1) throw new HeadraceError("cursor-overlap", "merged");
      yield { run: "run_1", seq: 3, type: "text-delta", block: "b", delta: "two" };
      yield { run: "run_1", seq: 4, type: "run-end", outcome: "completed" };
    },
    cancel: async () => ({ run: "run_1" }),
  };
  const store = new ChatStore({ transport, storage: new MemoryStorage(), schedule });
  store.send("Count", {});
  expect(textOf(await finished(store))).toBe("One two");
});

describe("the browser's storage", () => {
  test("when it is full, large answers are left to the server", async () => {
    const large = "word ".repeat(20_000);
    const server = await serve(() => [
      { type: "text-start", block: "b" },
      { type: "text-delta", block: "b", delta: large },
    ]);
    const storage = new MemoryStorage();
    storage.limit = 20_000;
    const store = storeOn(server, storage);
    const id = store.send("Much", {});
    expect(textOf(await finished(store))).toBe(large);
    expect(store.getSnapshot().notice).toBeUndefined();

    const reloaded = storeOn(server, storage);
    reloaded.open(id);
    expect(textOf(await finished(reloaded))).toBe(large);
    expect(server.runs()).toBe(1);
  });

  test("when nothing fits, the person is told", async () => {
    const server = await serve(() => words(TEXT, "b1", 0));
    const storage = new MemoryStorage();
    storage.limit = 10;
    const store = storeOn(server, storage);
    store.send("Count", {});
    expect(store.getSnapshot().notice).toContain("full");
    expect(textOf(await finished(store))).toBe(TEXT);
  });

  test("what cannot be read is left alone", () => {
    const storage = new MemoryStorage();
    storage.setItem("headrace:conversation:x", "{");
    storage.setItem("other", "1");
    const store = new ChatStore({ transport: new HttpTransport(), storage });
    expect(store.getSnapshot().conversations).toEqual([]);
  });
});

test("rename and remove", async () => {
  const server = await serve(() => words("x", "b1", 0));
  const storage = new MemoryStorage();
  const store = storeOn(server, storage);
  const id = store.send("Name me", {});
  await finished(store);
  store.rename(id, "A name");
  expect(storeOn(server, storage).getSnapshot().conversations[0]?.title).toBe("A name");
  store.remove(id);
  expect(store.getSnapshot()).toMatchObject({ conversations: [], current: undefined });
  expect(storage.length).toBe(0);
});
