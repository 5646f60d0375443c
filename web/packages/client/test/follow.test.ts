import { describe, expect, test } from "vitest";
import { HeadraceError } from "../src/errors.ts";
import type { WireEvent } from "../src/events.ts";
import { follow, type Connection, type Fetch } from "../src/follow.ts";

const encoder = new TextEncoder();

const EVENTS: readonly WireEvent[] = [
  { run: "run_1", seq: 1, type: "run-start" },
  { run: "run_1", seq: 2, type: "text-start", block: "b" },
  ...["Grüße", ", ", "世界 ", "🌊"].map((delta, index) => ({
    run: "run_1",
    seq: 3 + index,
    type: "text-delta",
    block: "b",
    delta,
  })),
  { run: "run_1", seq: 7, type: "text-end", block: "b" },
  { run: "run_1", seq: 8, type: "run-end", outcome: "completed" },
] as const;

function wire(events: readonly WireEvent[]): Uint8Array {
  const text = events
    .map((event) => `: beat\nid: ${event.run}.${event.seq}\ndata: ${JSON.stringify(event)}\n\n`)
    .join("");
  return encoder.encode(`retry: 20\n\n${text}`);
}

/** A body that hands over `pieces` and then ends, breaks off, or hangs until it is cancelled. */
function body(pieces: readonly Uint8Array[], last: "end" | "break" | "hang" = "end"): ReadableStream<Uint8Array> {
  let index = 0;
  return new ReadableStream<Uint8Array>(
    {
      pull(controller) {
        if (index < pieces.length) controller.enqueue(pieces[index++]!);
        else if (last === "end") controller.close();
        else if (last === "break") controller.error(new TypeError("connection reset"));
        else return new Promise(() => {});
        return undefined;
      },
    },
    { highWaterMark: 0 },
  );
}

function sse(stream: ReadableStream<Uint8Array>): Response {
  return new Response(stream, { headers: { "content-type": "text/event-stream; charset=utf-8" } });
}

function error(status: number, code: string): Response {
  return new Response(JSON.stringify({ error: { code, message: "m", details: { a: 1 } } }), { status });
}

/** A generator of numbers in [0, 1) that gives the same ones for the same seed. */
function seeded(seed: number): () => number {
  let state = seed + 1;
  return () => {
    state = (state * 48_271) % 2_147_483_647;
    return state / 2_147_483_647;
  };
}

function cursorOf(init: RequestInit | undefined): number {
  const id = (init?.headers as Record<string, string>)["last-event-id"] ?? "run_1.0";
  return Number(id.split(".")[1]);
}

async function collect(stream: AsyncIterable<WireEvent>): Promise<WireEvent[]> {
  const events: WireEvent[] = [];
  for await (const event of stream) events.push(event);
  return events;
}

const quick = { backoffMs: 1, random: () => 0 };

test("a whole stream", async () => {
  const seen: Connection[] = [];
  const fetch: Fetch = async () => sse(body([wire(EVENTS)]));
  expect(await collect(follow("/e", { fetch, onConnection: (state) => seen.push(state) }))).toEqual(EVENTS);
  expect(seen).toEqual(["connecting", "open"]);
});

describe("connections that break", () => {
  test.each(Array.from({ length: 60 }, (_, seed) => seed))("at random bytes, seed %i", async (seed) => {
    const random = seeded(seed);
    let connections = 0;
    const fetch: Fetch = async (_url, init) => {
      connections += 1;
      if (connections > 200) throw new Error("too many connections: no progress is made");
      if (random() < 0.1) throw new TypeError("connection refused");
      if (random() < 0.1) return error(503, "provider-overloaded");
      const bytes = wire(EVENTS.slice(cursorOf(init)));
      const upTo = random() < 0.7 ? Math.floor(random() * bytes.length) : bytes.length;
      const pieces: Uint8Array[] = [];
      for (let at = 0; at < upTo;) {
        const to = Math.min(upTo, at + 1 + Math.floor(random() * 40));
        pieces.push(bytes.slice(at, to));
        at = to;
      }
      return sse(body(pieces, random() < 0.5 ? "end" : "break"));
    };
    expect(await collect(follow("/e", { fetch, ...quick }))).toEqual(EVENTS);
  });

  test("a server that sends again what was seen", async () => {
    let first = true;
    const fetch: Fetch = async () => {
      const cut = first;
      first = false;
      return sse(body([wire(cut ? EVENTS.slice(0, 4) : EVENTS)]));
    };
    expect(await collect(follow("/e", { fetch, ...quick }))).toEqual(EVENTS);
  });

  test("silence is a broken connection", async () => {
    let connections = 0;
    const seen: Connection[] = [];
    const fetch: Fetch = async (_url, init) => {
      connections += 1;
      return sse(body([wire(EVENTS.slice(cursorOf(init), connections === 1 ? 3 : 8))], "hang"));
    };
    const events = await collect(
      follow("/e", { fetch, ...quick, silenceMs: 30, onConnection: (state) => seen.push(state) }),
    );
    expect(events).toEqual(EVENTS);
    expect(seen).toEqual(["connecting", "open", "retrying", "open"]);
  });

  test("a request that gets no answer at all is given up after the silence, too", async () => {
    let connections = 0;
    const fetch: Fetch = (_url, init) => {
      connections += 1;
      if (connections > 1) return Promise.resolve(sse(body([wire(EVENTS)])));
      return new Promise((_resolve, reject) =>
        init!.signal!.addEventListener("abort", () => reject(init!.signal!.reason)),
      );
    };
    expect(await collect(follow("/e", { fetch, ...quick, silenceMs: 20 }))).toEqual(EVENTS);
  });
});

describe("places in the stream", () => {
  test("starts after a cursor", async () => {
    const fetch: Fetch = async (_url, init) => sse(body([wire(EVENTS.slice(cursorOf(init)))]));
    expect(await collect(follow("/e", { fetch, after: "run_1.5" }))).toEqual(EVENTS.slice(5));
  });

  test("204 ends it: everything was read", async () => {
    const fetch: Fetch = async () => new Response(null, { status: 204 });
    expect(await collect(follow("/e", { fetch, after: "run_1.8" }))).toEqual([]);
  });

  test("a merged delta is one event and moves the cursor over all of it", async () => {
    const merged = { run: "run_1", seq: 6, from: 3, type: "text-delta", block: "b", delta: "all" } as WireEvent;
    const list = [EVENTS[0]!, EVENTS[1]!, merged, EVENTS[6]!, EVENTS[7]!];
    const fetch: Fetch = async () => sse(body([wire(list)]));
    expect(await collect(follow("/e", { fetch }))).toEqual(list);
  });

  test("a merge across our place is an error that says so", async () => {
    const merged = { run: "run_1", seq: 6, from: 3, type: "text-delta", block: "b", delta: "all" } as WireEvent;
    const fetch: Fetch = async () => sse(body([wire([merged])]));
    await expect(collect(follow("/e", { fetch, after: "run_1.4" }))).rejects.toMatchObject({ code: "cursor-overlap" });
  });

  test("a hole is asked for again, and is an error when it stays", async () => {
    let connections = 0;
    const holed = [EVENTS[0]!, ...EVENTS.slice(2)];
    const once: Fetch = async (_url, init) => {
      connections += 1;
      return sse(body([wire(connections === 1 ? holed : EVENTS.slice(cursorOf(init)))]));
    };
    expect(await collect(follow("/e", { fetch: once, ...quick }))).toEqual(EVENTS);
    const always: Fetch = async () => sse(body([wire(holed)]));
    await expect(collect(follow("/e", { fetch: always, ...quick }))).rejects.toMatchObject({
      code: "stream-incomplete",
    });
  });
});

describe("ends", () => {
  test.each([
    [400, "cursor-malformed"],
    [401, "unauthorized"],
    [403, "cursor-foreign"],
    [404, "run-not-found"],
    [410, "retention-passed"],
  ])("%i is a typed error", async (status, code) => {
    const fetch: Fetch = async () => error(status, code);
    const failure = await collect(follow("/e", { fetch })).catch((caught: unknown) => caught);
    expect(failure).toBeInstanceOf(HeadraceError);
    expect(failure).toMatchObject({ code, status, message: "m", details: { a: 1 } });
  });

  test("a page instead of a stream is a typed error", async () => {
    const fetch: Fetch = async () => new Response("<html>", { headers: { "content-type": "text/html" } });
    await expect(collect(follow("/e", { fetch }))).rejects.toMatchObject({ code: "bad-response" });
  });

  test("nonsense in the stream is a typed error", async () => {
    const fetch: Fetch = async () => sse(body([encoder.encode("data: {]\n\n")]));
    await expect(collect(follow("/e", { fetch }))).rejects.toMatchObject({ code: "bad-response" });
  });

  test("a status without a body of ours still has a code", async () => {
    const fetch: Fetch = async () => new Response("Not Found", { status: 404 });
    await expect(collect(follow("/e", { fetch }))).rejects.toMatchObject({ code: "run-not-found" });
  });

  test("the signal ends it quietly, in the stream and in the wait", async () => {
    for (const fetch of [
      async () => sse(body([wire(EVENTS.slice(0, 2))], "hang")),
      async () => Promise.reject(new TypeError("refused")),
    ]) {
      const stop = new AbortController();
      const seen: WireEvent[] = [];
      const reading = (async () => {
        for await (const event of follow("/e", {
          fetch,
          signal: stop.signal,
          onConnection: (state) => state === "retrying" && stop.abort(),
        })) {
          seen.push(event);
          if (event.seq === 2) stop.abort();
        }
      })();
      await reading;
      expect(seen.length).toBeLessThanOrEqual(2);
    }
  });

  test("Retry-After is honoured", async () => {
    const began = Date.now();
    let connections = 0;
    const fetch: Fetch = async () => {
      connections += 1;
      if (connections > 1) return sse(body([wire(EVENTS)]));
      return new Response("", { status: 429, headers: { "retry-after": "0.2" } });
    };
    expect(await collect(follow("/e", { fetch, ...quick }))).toEqual(EVENTS);
    expect(Date.now() - began).toBeGreaterThanOrEqual(190);
  });
});
