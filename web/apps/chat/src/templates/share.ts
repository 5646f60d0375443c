/**
 * A template and its inputs in an address: JSON, compressed, in letters that a URL may have.
 *
 * It stands behind the `#`, which a browser never sends: only those who have the link have the text.
 */

import { inputsFrom, type Doc } from "./docs.ts";

export type Shared = Pick<Doc, "name" | "text" | "inputs">;

/** A link is refused past this, before and after it is unpacked: a small one may hold very much. */
const LONGEST = 2_000_000;

export async function pack(shared: Shared): Promise<string> {
  const json = JSON.stringify({ v: 1, name: shared.name, text: shared.text, inputs: shared.inputs });
  const stream = new Blob([json]).stream().pipeThrough(new CompressionStream("deflate-raw"));
  const bytes = new Uint8Array(await new Response(stream).arrayBuffer());
  let binary = "";
  for (let at = 0; at < bytes.length; at += 8_192) binary += String.fromCharCode(...bytes.subarray(at, at + 8_192));
  return btoa(binary).replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "");
}

/** What a link holds. Throws an `Error` in words when it holds nothing. */
export async function unpack(packed: string): Promise<Shared> {
  try {
    if (packed.length > LONGEST) throw new RangeError();
    const bytes = Uint8Array.from(atob(packed.replaceAll("-", "+").replaceAll("_", "/")), (char) => char.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate-raw"));
    const found = JSON.parse(await bounded(stream)) as Record<string, unknown>;
    if (typeof found["text"] !== "string") throw new TypeError();
    const name = typeof found["name"] === "string" ? found["name"] : "Shared";
    return { name: name.slice(0, 200), text: found["text"], inputs: inputsFrom(found["inputs"]) };
  } catch (cause) {
    const why = cause instanceof RangeError ? "it is too long" : "it is cut off, or was not made here";
    throw new Error(`This link holds no template: ${why}.`, { cause });
  }
}

async function bounded(stream: ReadableStream<Uint8Array<ArrayBuffer>>): Promise<string> {
  const reader = stream.getReader();
  const decoder = new TextDecoder("utf-8", { fatal: true });
  let text = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return text + decoder.decode();
    text += decoder.decode(value, { stream: true });
    if (text.length > LONGEST) {
      await reader.cancel();
      throw new RangeError();
    }
  }
}
