import { expect, test, vi } from "vitest";

vi.stubGlobal("location", { hash: "", search: "", pathname: "/" });
vi.stubGlobal("addEventListener", () => {});
const { parsePlace } = await import("../src/router.ts");

test.each([
  ["", { page: "", parts: [], id: undefined }],
  ["#/", { page: "", parts: [], id: undefined }],
  ["#/c/abc", { page: "c", parts: ["abc"], id: "abc" }],
  ["#/procedures/a%20b/c?at=3&x", { page: "procedures", parts: ["a b", "c"], id: "a b" }],
  ["#/procedures/50%/", { page: "procedures", parts: ["50%"] }],
])("%s", (hash, expected) => {
  expect(parsePlace(hash, "")).toMatchObject(expected);
});

test("a query inside the hash, and the run before it", () => {
  const place = parsePlace("#/templates?t=a-b_c?d", "?run=run_1");
  expect(place.query.get("t")).toBe("a-b_c?d");
  expect(place.run).toBe("run_1");
});
