/**
 * A small server that speaks the run routes of the contract from scripts, over real sockets.
 *
 * For the tests of the client, and to look at the page without a Python server: `npm run mock`
 * from `web/`, after `npm run build`. The first words of the message choose the script: see `scriptFor`.
 */

import { readFile } from "node:fs/promises";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { extname, join, normalize } from "node:path";
import { pathToFileURL } from "node:url";

/** An event without what the server adds, or a pause in milliseconds. */
export type Step = number | { readonly type: string; readonly [key: string]: unknown };
export type Script = Iterable<Step>;

interface Run {
  readonly id: string;
  readonly model: string;
  readonly created: string;
  readonly began: number;
  readonly events: Record<string, unknown>[];
  readonly wake: Set<() => void>;
  cancelled: boolean;
}

export interface ScriptedServer {
  readonly url: string;
  /** How many runs were started. */
  readonly runs: () => number;
  /** Cuts every open event stream, as a broken connection would. */
  readonly cut: () => void;
  readonly close: () => Promise<void>;
}

export interface ScriptedOptions {
  readonly port?: number;
  readonly script?: (prompt: string) => Script;
  /** Bytes written at a time; whole events without it. */
  readonly slice?: number;
  /** A folder of static files to serve at `/`. */
  readonly pages?: string;
}

export async function scriptedServer(options: ScriptedOptions = {}): Promise<ScriptedServer> {
  const runs = new Map<string, Run>();
  const keys = new Map<string, string>();
  const streams = new Set<ServerResponse>();
  const choose = options.script ?? scriptFor;
  let closed = false;

  const server: Server = createServer((request, response) => {
    void answer(request, response).catch((error: Error) => {
      if (!response.headersSent) fail(response, 500, "provider-error", error.message);
      else response.destroy();
    });
  });

  async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(request.url ?? "/", "http://localhost");
    const [, version, kind, id, action] = url.pathname.split("/");
    if (version === "v1" && kind === "models") {
      return json(response, 200, {
        object: "list",
        data: ["demo", "openai:gpt-4o-mini", "ollama:llama3.2"].map((model) => ({ id: model })),
      });
    }
    if (version === "v1" && kind === "runs") {
      if (id === undefined && request.method === "POST") return start(request, response);
      const run = runs.get(id ?? "");
      if (run === undefined) return fail(response, 404, "run-not-found", `no run ${id}`);
      if (action === "events") return events(run, request, response);
      if (action === "cancel") run.cancelled = true;
      run.wake.forEach((wake) => wake());
      return json(response, 200, info(run));
    }
    if (options.pages !== undefined && request.method === "GET") return page(options.pages, url.pathname, response);
    return fail(response, 404, "bad-request", "no such route");
  }

  async function start(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const body = JSON.parse(Buffer.concat(chunks).toString()) as { model?: string; messages?: { content: string }[] };
    const prompt = body.messages?.at(-1)?.content ?? "";
    if (prompt.startsWith("refuse")) return fail(response, 429, "too-many", "64 runs are live and that is the limit");
    const key = String(request.headers["idempotency-key"] ?? "");
    let run = runs.get(keys.get(key) ?? "");
    if (run === undefined) {
      run = {
        id: `run_${String(runs.size + 1).padStart(26, "0")}`,
        model: body.model ?? "demo",
        created: new Date().toISOString(),
        began: Date.now(),
        events: [],
        wake: new Set(),
        cancelled: false,
      };
      runs.set(run.id, run);
      if (key !== "") keys.set(key, run.id);
      void play(run, choose(prompt));
    }
    json(response, 201, { run: run.id, status: "running", events: `/v1/runs/${run.id}/events` });
  }

  async function play(run: Run, script: Script): Promise<void> {
    const emit = (event: Record<string, unknown>) => {
      run.events.push({ run: run.id, seq: run.events.length + 1, time: new Date().toISOString(), ...event });
      run.wake.forEach((wake) => wake());
    };
    emit({ type: "run-start", kind: "chat", model: run.model, metadata: {} });
    let first: number | undefined;
    for (const step of script) {
      if (closed) return;
      if (run.cancelled) break;
      if (typeof step === "number") {
        await new Promise<void>((resolve) => {
          const timer = setTimeout(done, step);
          function done() {
            clearTimeout(timer);
            run.wake.delete(check);
            resolve();
          }
          function check() {
            if (run.cancelled) done();
          }
          run.wake.add(check);
        });
        continue;
      }
      if (step.type.endsWith("-delta")) first ??= Date.now() - run.began;
      emit(step.type === "run-end" ? { elapsed_ms: Date.now() - run.began, first_token_ms: first, ...step } : step);
    }
    if (run.events.at(-1)?.["type"] !== "run-end") {
      const usage = { input_tokens: 12, output_tokens: Math.ceil(textOf(run).length / 4), basis: "reported" };
      emit({
        type: "run-end",
        outcome: run.cancelled ? "cancelled" : "completed",
        finish_reason: run.cancelled ? null : "stop",
        result: { text: textOf(run) },
        usage: run.cancelled ? { ...usage, basis: "estimated" } : usage,
        cost: run.cancelled ? null : 0.000412,
        first_token_ms: first,
        elapsed_ms: Date.now() - run.began,
      });
    }
  }

  async function events(run: Run, request: IncomingMessage, response: ServerResponse): Promise<void> {
    let seq = Number(/(\d+)$/.exec(String(request.headers["last-event-id"] ?? ""))?.[1] ?? 0);
    const ended = () => run.events.at(-1)?.["type"] === "run-end";
    if (ended() && seq >= run.events.length) {
      response.writeHead(204).end();
      return;
    }
    response.writeHead(200, { "content-type": "text/event-stream", "cache-control": "no-cache" });
    streams.add(response);
    response.on("close", () => streams.delete(response));
    response.write("retry: 500\n\n");
    while (!response.destroyed) {
      while (seq < run.events.length) {
        const event = run.events[seq]!;
        const bytes = Buffer.from(`id: ${run.id}.${event["seq"]}\ndata: ${JSON.stringify(event)}\n\n`);
        const size = options.slice ?? bytes.length;
        for (let at = 0; at < bytes.length; at += size) response.write(bytes.subarray(at, at + size));
        seq += 1;
      }
      if (ended()) break;
      await new Promise<void>((resolve) => {
        const wake = () => {
          run.wake.delete(wake);
          response.off("close", wake);
          resolve();
        };
        run.wake.add(wake);
        response.on("close", wake);
      });
    }
    response.end();
  }

  await new Promise<void>((resolve) => server.listen(options.port ?? 0, "127.0.0.1", resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    runs: () => runs.size,
    cut: () => streams.forEach((stream) => stream.destroy()),
    close: async () => {
      closed = true;
      runs.forEach((run) => run.wake.forEach((wake) => wake()));
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

function textOf(run: Run): string {
  const gone = new Set(
    run.events.flatMap((event) => (event["type"] === "output-reset" ? (event["blocks"] as string[]) : [])),
  );
  return run.events
    .filter((event) => event["type"] === "text-delta" && !gone.has(event["block"] as string))
    .map((event) => event["delta"])
    .join("");
}

function info(run: Run): unknown {
  const end = run.events.at(-1);
  const ended = end?.["type"] === "run-end";
  return {
    run: run.id,
    kind: "chat",
    model: run.model,
    created: run.created,
    status: ended ? "ended" : "running",
    ...(ended
      ? { outcome: end["outcome"], result: end["result"], usage: end["usage"], cost: end["cost"], error: end["error"] }
      : {}),
  };
}

function json(response: ServerResponse, status: number, body: unknown): void {
  response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(body));
}

function fail(response: ServerResponse, status: number, code: string, message: string): void {
  json(response, status, { error: { code, message, details: {} } });
}

const TYPES: Readonly<Record<string, string>> = {
  ".html": "text/html",
  ".js": "text/javascript",
  ".css": "text/css",
  ".svg": "image/svg+xml",
  ".woff2": "font/woff2",
};

async function page(folder: string, path: string, response: ServerResponse): Promise<void> {
  const name = normalize(path === "/" ? "/index.html" : path);
  const bytes = await readFile(join(folder, name)).catch(() => undefined);
  if (bytes === undefined) return fail(response, 404, "bad-request", `no page ${path}`);
  response.writeHead(200, { "content-type": TYPES[extname(name)] ?? "application/octet-stream" }).end(bytes);
}

// -- the scripts ------------------------------------------------------------------------------

/** Text in small pieces, with a pause after each. */
export function* words(text: string, block = "b1", pause = 12): Script {
  yield { type: "text-start", block };
  for (const piece of text.match(/\s*\S+|\s+$/g) ?? []) {
    yield { type: "text-delta", block, delta: piece };
    if (pause > 0) yield pause;
  }
  yield { type: "text-end", block };
}

const ANSWER = `A water wheel turns *flow* into *work* by letting falling water push on buckets, one after another.

## How it works

1. The **headrace** carries water to the wheel: all of it, in order.
2. Gravity pulls the filled buckets down, and the axle turns.
3. The **tailrace** takes the spent water away.

\`\`\`python
def power(flow_m3_s: float, head_m: float, efficiency: float = 0.7) -> float:
    """Watts from a wheel: water's weight, times its fall, times what is not lost."""
    return 1000 * 9.81 * flow_m3_s * head_m * efficiency

print(f"{power(0.2, 3):,.0f} W")  # a small mill
\`\`\`

| Wheel | Head | Efficiency |
|---|---:|---:|
| Overshot | 3–10 m | 80–90 % |
| Breast | 1.5–3 m | 60–80 % |
| Undershot | 0.5–1.5 m | 25–70 % |

> Think of a bicycle: your feet are the water, the pedals are the buckets.

See [water wheel](https://en.wikipedia.org/wiki/Water_wheel) for \`more\`.`;

function* scriptFor(prompt: string): Script {
  if (prompt.startsWith("wait")) {
    yield { type: "status", message: "queued", position: 3 };
    yield 2500;
    yield { type: "status", message: "Loading the model" };
    yield 2500;
  }
  if (prompt.startsWith("fail")) {
    yield* words("The first words of an answer that", "b1", 30);
    yield {
      type: "run-end",
      outcome: "failed",
      error: { code: "stream-incomplete", message: "openai: the stream ended without [DONE]", retryable: true },
    };
    return;
  }
  if (prompt.startsWith("hostile")) {
    yield* words(
      "<script>alert(1)</script> <img src=x onerror=alert(1)> [[slot]] \u001b[31mred\u001b[0m \0 end [x](javascript:alert(1)) ![p](https://example.com/a.png)\n\n",
    );
    yield { type: "text-delta", block: "b1", delta: "x".repeat(1_000_000) };
    return;
  }
  if (prompt.startsWith("tools")) {
    yield { type: "reasoning-start", block: "r1" };
    for (const word of "The user wants the weather, so I should look it up before I say anything about it.".split(
      " ",
    )) {
      yield { type: "reasoning-delta", block: "r1", delta: `${word} ` };
      yield 80;
    }
    yield { type: "reasoning-end", block: "r1" };
    yield* words("I will look at the gauge", "b0", 40);
    yield { type: "output-reset", blocks: ["b0"], reason: "failover" };
    yield { type: "tool-call-start", call: "c1", name: "river_level" };
    for (const piece of '{"station": "Schwedenplatz", "days": 3}'.match(/.{1,4}/g) ?? []) {
      yield { type: "tool-call-delta", call: "c1", delta: piece };
      yield 80;
    }
    yield { type: "tool-call-end", call: "c1", arguments: { station: "Schwedenplatz", days: 3 } };
    yield 600;
    yield { type: "tool-result", call: "c1", value: { level_cm: 182, trend: "falling" }, elapsed_ms: 612 };
    yield* words("The level is **182 cm** and falling.");
    yield { type: "source", url: "https://www.example.org/gauge", title: "Gauge at Schwedenplatz" };
    return;
  }
  yield 300;
  const times = Number(/^long (\d+)/.exec(prompt)?.[1] ?? 1);
  yield* words(Array.from({ length: times }, () => ANSWER).join("\n\n"), "b1", 25);
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) {
  const server = await scriptedServer({ port: 8700, pages: "../src/headrace/server/static" });
  console.log(server.url);
}
