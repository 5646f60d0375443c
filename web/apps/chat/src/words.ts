/** What went wrong, in words, and what the person can do about it: one entry an error code. */

import type { ErrorCode } from "@headrace/client";

export interface Words {
  readonly title: string;
  readonly advice: string;
  readonly retry: boolean;
  /** The settings panel is where it is mended. */
  readonly settings?: boolean;
}

type Known = ErrorCode | "network" | "bad-response" | "cursor-overlap";

const WORDS: Readonly<Record<Known, Words>> = {
  "provider-unreachable": {
    title: "The model's provider cannot be reached",
    advice: "Check the network, or pick another model. If it runs on this machine, see that it is started.",
    retry: true,
  },
  "provider-timeout": {
    title: "The provider stopped answering",
    advice: "It was given its time and said nothing. Try again, or pick another model.",
    retry: true,
  },
  "provider-overloaded": { title: "The provider is overloaded", advice: "Wait a moment, then try again.", retry: true },
  "provider-error": {
    title: "The provider had an error of its own",
    advice: "Usually it passes. Try again, or pick another model.",
    retry: true,
  },
  "provider-protocol": {
    title: "The provider sent something that cannot be read",
    advice: "Try again. If it stays, check that the provider's address is the right one.",
    retry: true,
  },
  "stream-incomplete": {
    title: "The answer broke off",
    advice: "The provider ended the connection before the end of the answer. What came is above.",
    retry: true,
  },
  "rate-limited": {
    title: "Too many requests for this provider",
    advice: "Wait a minute, then try again, or pick another model.",
    retry: true,
  },
  "auth-failed": {
    title: "The provider does not accept the server's key",
    advice: "Whoever runs this server has to set the provider's key. Another model may work.",
    retry: false,
  },
  "bad-request": {
    title: "The request was refused",
    advice: "Look at the settings (token limit, temperature): the provider did not accept one of them.",
    retry: false,
    settings: true,
  },
  "model-not-found": { title: "There is no such model", advice: "Pick another one in the list above.", retry: false },
  "context-too-long": {
    title: "The conversation is too long for this model",
    advice: "Start a new chat, or pick a model with a larger context.",
    retry: false,
  },
  "content-blocked": {
    title: "The provider's filter blocked this",
    advice: "Put the question differently, or pick another model.",
    retry: false,
  },
  "output-rejected": {
    title: "The answer did not have the form that was asked for",
    advice: "Try again.",
    retry: true,
  },
  "tool-failed": { title: "A tool failed", advice: "The card above says which one and why.", retry: true },
  deadline: { title: "The run took longer than it may", advice: "Ask for less, or try again.", retry: true },
  interrupted: {
    title: "The server stopped in the middle of this",
    advice: "It was restarted while the answer was being written. Try again.",
    retry: true,
  },
  "run-not-found": {
    title: "The server does not know this run",
    advice: "It may have been restarted since, or the run belongs to another key.",
    retry: true,
  },
  "cursor-malformed": { title: "The place in the stream is unreadable", advice: "Reload the page.", retry: true },
  "cursor-foreign": { title: "The place in the stream is another run's", advice: "Reload the page.", retry: true },
  "cursor-ahead": { title: "The place in the stream is ahead of it", advice: "Reload the page.", retry: true },
  "cursor-overlap": { title: "The stream was shortened meanwhile", advice: "Reload the page.", retry: true },
  "retention-passed": {
    title: "This answer is no longer kept",
    advice: "The server keeps streams for a limited time. Ask again to have it anew.",
    retry: true,
  },
  unauthorized: {
    title: "This server wants a key",
    advice: "Enter its API key in the settings.",
    retry: true,
    settings: true,
  },
  forbidden: {
    title: "This key may not do that",
    advice: "The run or conversation belongs to another key.",
    retry: false,
    settings: true,
  },
  "too-large": { title: "The message is too large", advice: "Send a shorter one, or start a new chat.", retry: false },
  "too-many": {
    title: "The server is full",
    advice: "It has as many runs as it may. Try again in a moment.",
    retry: true,
  },
  "template-error": { title: "The template has an error", advice: "The message says where.", retry: false },
  "procedure-error": { title: "The procedure has an error", advice: "The message says where.", retry: false },
  "store-unavailable": {
    title: "The server cannot write to its store",
    advice: "Nothing was lost. Try again; if it stays, look at the server's disk.",
    retry: true,
  },
  usage: { title: "The server cannot do that", advice: "The message says why. Another model may work.", retry: false },
  "missing-extra": {
    title: "The server lacks a part for this",
    advice: "Whoever runs it can install it; the message has the line.",
    retry: false,
  },
  network: {
    title: "The server cannot be reached",
    advice: "See that `headrace serve` is running, then try again. Your message is kept.",
    retry: true,
  },
  "bad-response": {
    title: "The server's answer made no sense",
    advice: "Something between this page and the server may have changed it. Try again.",
    retry: true,
  },
};

export function wordsFor(code: string, retryable?: boolean): Words {
  const words = (WORDS as Readonly<Record<string, Words>>)[code] ?? {
    title: "Something went wrong",
    advice: "The message says what.",
    retry: true,
  };
  return retryable === undefined ? words : { ...words, retry: words.retry || retryable };
}
