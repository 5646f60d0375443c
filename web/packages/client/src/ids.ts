/** Names made in the browser: conversation ids in the server's form, and idempotency keys. */

const ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/** `conv_` and a ULID (48 bits of milliseconds, 80 random bits, Crockford's base 32). */
export function conversationId(now: number = Date.now()): string {
  let time = "";
  for (let rest = now, place = 0; place < 10; place += 1, rest = Math.floor(rest / 32))
    time = ALPHABET[rest % 32]! + time;
  const random = Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => ALPHABET[byte % 32]!).join("");
  return `conv_${time}${random}`;
}

/**
 * A random UUID. `crypto.randomUUID` exists only on secure origins, and a server on the local
 * network reached by plain HTTP is not one.
 */
export function uuid(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6]! & 0x0f) | 0x40;
  bytes[8] = (bytes[8]! & 0x3f) | 0x80;
  const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join("-");
}
