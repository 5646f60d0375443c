/**
 * Conversations: what was asked, what was answered, and which runs are still going.
 *
 * Plain TypeScript; a page only subscribes. Each conversation is one entry of the browser's
 * storage, written when its shape changes and not when a token comes: a running answer is stored
 * as the id of its run, and its text is read again from the server after a reload. A question
 * whose POST had no answer yet is stored with its idempotency key, so asking again after a reload
 * starts no second run. Another tab's writes arrive as `storage` events and are taken over.
 *
 * Tokens do not pass through here: a page subscribes to the `RunView` of each running answer.
 */

import { HeadraceError } from "./errors.ts";
import { textOf, type RunState } from "./fold.ts";
import { conversationId, uuid } from "./ids.ts";
import { RunView, type Schedule } from "./run-view.ts";
import type { Message, StartBody, Transport } from "./transport.ts";

/** What is asked of the model beside the words; kept with each answer so that it can be asked again. */
export interface RequestOptions {
  readonly model?: string;
  readonly system?: string;
  readonly max_tokens?: number;
  readonly temperature?: number;
  readonly fallbacks?: readonly string[];
}

export interface Question {
  readonly role: "user";
  readonly id: string;
  readonly at: number;
  readonly text: string;
}

export interface Answer {
  readonly role: "assistant";
  readonly id: string;
  /** When it was asked for, by this browser's clock. */
  readonly at: number;
  readonly request: RequestOptions;
  /** The idempotency key of the POST. */
  readonly key: string;
  /** Known once the POST was answered. */
  readonly run?: string;
  /** Known once the run ended. */
  readonly state?: RunState;
  /** The run could not be started, or its end cannot be known any more. */
  readonly problem?: { readonly code: string; readonly message: string };
}

export type ChatMessage = Question | Answer;

export interface Conversation {
  readonly id: string;
  readonly title: string;
  readonly created: number;
  readonly updated: number;
  readonly messages: readonly ChatMessage[];
}

export interface ChatSnapshot {
  /** Newest first. */
  readonly conversations: readonly Conversation[];
  /** The open conversation; undefined is the empty page of a new one. */
  readonly current: Conversation | undefined;
  /** Something the person should know about this browser's storage. */
  readonly notice?: string;
}

/** The part of the Web Storage API that is used. */
export interface ChatStorage {
  readonly length: number;
  key(index: number): string | null;
  getItem(key: string): string | null;
  setItem(key: string, value: string): void;
  removeItem(key: string): void;
}

export interface ChatStoreOptions {
  readonly transport: Transport;
  readonly storage: ChatStorage;
  readonly schedule?: Schedule;
  readonly now?: () => number;
}

const PREFIX = "headrace:conversation:";
const TITLE_LENGTH = 60;
/** An answer larger than this is left to the server when the browser's storage is full. */
const LARGE = 50_000;

export class ChatStore {
  readonly #transport: Transport;
  readonly #storage: ChatStorage;
  readonly #schedule: Schedule | undefined;
  readonly #now: () => number;
  readonly #listeners = new Set<() => void>();
  readonly #conversations = new Map<string, Conversation>();
  readonly #views = new Map<string, RunView>();
  readonly #posting = new Set<string>();
  readonly #stopping = new Set<string>();
  #current: string | undefined;
  #notice: string | undefined;
  #snapshot: ChatSnapshot = { conversations: [], current: undefined };

  constructor(options: ChatStoreOptions) {
    this.#transport = options.transport;
    this.#storage = options.storage;
    this.#schedule = options.schedule;
    this.#now = options.now ?? Date.now;
    for (const key of keys(this.#storage)) {
      const conversation = readConversation(this.#storage.getItem(key));
      if (conversation !== undefined) this.#conversations.set(conversation.id, conversation);
    }
    this.#publish();
  }

  readonly subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  };

  readonly getSnapshot = (): ChatSnapshot => this.#snapshot;

  /** The live view of a run; the same object for every caller. */
  view(run: string): RunView {
    let view = this.#views.get(run);
    if (view === undefined) {
      view = new RunView(run, this.#transport, {
        ...(this.#schedule === undefined ? {} : { schedule: this.#schedule }),
        onEnd: (state) => this.#settle(run, { state: lean(state) }),
        onFail: (error) => this.#settle(run, { problem: problemOf(error) }),
      });
      this.#views.set(run, view);
    }
    return view;
  }

  /** Opens a conversation, or the empty page, and picks up its running answers. */
  open(id: string | undefined): void {
    this.#current = id !== undefined && this.#conversations.has(id) ? id : undefined;
    this.#resume();
    this.#publish();
  }

  /** Asks `text` in the open conversation, or in a new one. Returns the conversation's id. */
  send(text: string, request: RequestOptions): string {
    const at = this.#now();
    const id = this.#current ?? conversationId(at);
    const question: Question = { role: "user", id: uuid(), at, text };
    const answer = this.#answer(request);
    this.#update(id, (known) => {
      const conversation = known ?? { id, title: titleOf(text), created: at, updated: at, messages: [] };
      return { ...conversation, updated: at, messages: [...conversation.messages, question, answer] };
    });
    this.#current = id;
    this.#publish();
    void this.#post(id, answer);
    return id;
  }

  /** Asks the last question of the open conversation again; its last answer is replaced. */
  retry(request: RequestOptions): void {
    const id = this.#current;
    if (id === undefined) return;
    const answer = this.#answer(request);
    this.#update(id, (known) => {
      if (known === undefined) return known;
      const last = known.messages.findLastIndex((message) => message.role === "user");
      return { ...known, updated: this.#now(), messages: [...known.messages.slice(0, last + 1), answer] };
    });
    this.#publish();
    void this.#post(id, answer);
  }

  /** Stops the running answer of the open conversation. */
  async stop(): Promise<void> {
    const answer = runningAnswer(this.#snapshot.current);
    if (answer === undefined) return;
    if (answer.run !== undefined) {
      // The end comes as an event; the answer of the POST says nothing more.
      await this.#transport.cancel(answer.run);
    } else {
      // The run may exist already though we do not know its name yet: stop it as soon as we do.
      this.#stopping.add(answer.id);
    }
  }

  /** Answers a question that a run has for a person. */
  async respond(run: string, request: string, value: unknown): Promise<void> {
    await this.#transport.respond?.(run, request, value);
  }

  /** Follows again the answers whose following stopped: a key was given, or the person asked for it. */
  reattach(): void {
    const id = this.#current;
    for (const message of this.#snapshot.current?.messages ?? []) {
      if (
        id === undefined ||
        message.role !== "assistant" ||
        message.run === undefined ||
        message.problem === undefined
      )
        continue;
      this.#change(id, message.id, ({ problem: _solved, ...rest }) => rest);
    }
    this.#resume();
  }

  rename(id: string, title: string): void {
    this.#update(id, (known) => known && { ...known, title: titleOf(title) });
    this.#publish();
  }

  remove(id: string): void {
    this.#conversations.delete(id);
    this.#storage.removeItem(PREFIX + id);
    if (this.#current === id) this.#current = undefined;
    this.#publish();
  }

  /** Another tab wrote: pass it the `storage` event's key (null when everything was cleared). */
  takeOver(key: string | null): void {
    if (key === null) {
      this.#conversations.clear();
    } else if (key.startsWith(PREFIX)) {
      const id = key.slice(PREFIX.length);
      const conversation = readConversation(this.#storage.getItem(key));
      if (conversation === undefined) this.#conversations.delete(id);
      else this.#conversations.set(id, conversation);
    } else {
      return;
    }
    if (this.#current !== undefined && !this.#conversations.has(this.#current)) this.#current = undefined;
    this.#publish();
    // The other tab posts its own questions; we only follow the runs it started.
    for (const message of this.#snapshot.current?.messages ?? []) {
      if (message.role === "assistant" && isRunning(message) && message.run !== undefined) {
        void this.view(message.run).attach();
      }
    }
  }

  #answer(request: RequestOptions): Answer {
    return { role: "assistant", id: uuid(), at: this.#now(), key: uuid(), request };
  }

  #resume(): void {
    if (this.#current === undefined) return;
    for (const message of this.#conversations.get(this.#current)?.messages ?? []) {
      if (message.role !== "assistant" || !isRunning(message)) continue;
      if (message.run !== undefined) void this.view(message.run).attach();
      else if (!this.#posting.has(message.id)) void this.#post(this.#current, message);
    }
  }

  async #post(id: string, answer: Answer): Promise<void> {
    const conversation = this.#conversations.get(id);
    if (conversation === undefined) return;
    this.#posting.add(answer.id);
    try {
      const started = await this.#transport.start(requestOf(conversation, answer), { key: answer.key });
      this.#change(id, answer.id, (known) => ({ ...known, run: started.run }));
      void this.view(started.run).attach();
      if (this.#stopping.has(answer.id)) await this.#transport.cancel(started.run);
    } catch (error) {
      this.#change(id, answer.id, (known) => ({ ...known, problem: problemOf(error) }));
    } finally {
      this.#posting.delete(answer.id);
      this.#stopping.delete(answer.id);
    }
  }

  #settle(run: string, how: Pick<Answer, "state"> | Pick<Answer, "problem">): void {
    for (const conversation of this.#conversations.values()) {
      const answer = conversation.messages.find((message) => message.role === "assistant" && message.run === run);
      if (answer !== undefined) this.#change(conversation.id, answer.id, (known) => ({ ...known, ...how }));
    }
  }

  #change(id: string, answer: string, change: (known: Answer) => Answer): void {
    this.#update(id, (known) => {
      if (known === undefined) return known;
      const messages = known.messages.map((message) =>
        message.id === answer && message.role === "assistant" ? change(message) : message,
      );
      return { ...known, messages };
    });
    this.#publish();
  }

  /** Reads, changes and writes one conversation. Reading first keeps what another tab just wrote. */
  #update(id: string, change: (known: Conversation | undefined) => Conversation | undefined): void {
    const stored = readConversation(this.#storage.getItem(PREFIX + id)) ?? this.#conversations.get(id);
    const next = change(keepIdentity(stored, this.#conversations.get(id)));
    if (next === undefined) return;
    this.#conversations.set(id, next);
    try {
      this.#storage.setItem(PREFIX + id, JSON.stringify(next));
      this.#notice = undefined;
    } catch {
      this.#writeLess(id, next);
    }
  }

  /** The storage is full: leave large answers to the server, which knows them by their run. */
  #writeLess(id: string, conversation: Conversation): void {
    const messages = conversation.messages.map((message) => {
      if (message.role === "user" || message.state === undefined || textOf(message.state).length < LARGE)
        return message;
      const { state: _left, ...rest } = message;
      return rest;
    });
    try {
      this.#storage.setItem(PREFIX + id, JSON.stringify({ ...conversation, messages }));
    } catch {
      this.#notice = "This browser's storage is full. Delete conversations you no longer need to keep new ones.";
    }
  }

  #publish(): void {
    const conversations = [...this.#conversations.values()].sort((a, b) => b.updated - a.updated);
    this.#snapshot = {
      conversations,
      current: this.#current === undefined ? undefined : this.#conversations.get(this.#current),
      ...(this.#notice === undefined ? {} : { notice: this.#notice }),
    };
    for (const listener of this.#listeners) listener();
  }
}

/** The body of the POST for `answer`: everything said before it that still stands. */
export function requestOf(conversation: Conversation, answer: Answer): StartBody {
  const messages: Message[] = [];
  const { system, model, max_tokens, temperature, fallbacks } = answer.request;
  if (system !== undefined && system !== "") messages.push({ role: "system", content: system });
  for (const message of conversation.messages) {
    if (message.id === answer.id) break;
    const content = message.role === "user" ? message.text : message.state === undefined ? "" : textOf(message.state);
    if (content !== "") messages.push({ role: message.role, content });
  }
  return {
    messages,
    conversation: conversation.id,
    metadata: {},
    // An answer belongs to its conversation: it is written to its end also when the page is closed.
    on_disconnect: "continue",
    ...(model === undefined ? {} : { model }),
    ...(max_tokens === undefined ? {} : { max_tokens }),
    ...(temperature === undefined ? {} : { temperature }),
    ...(fallbacks === undefined || fallbacks.length === 0 ? {} : { fallbacks }),
  };
}

/** Whether this answer is still being asked for or written. */
export function isRunning(answer: Answer): boolean {
  return answer.state === undefined && answer.problem === undefined;
}

/** The answer a Stop button stops. */
export function runningAnswer(conversation: Conversation | undefined): Answer | undefined {
  const last = conversation?.messages.at(-1);
  return last?.role === "assistant" && isRunning(last) ? last : undefined;
}

function problemOf(error: unknown): { code: string; message: string } {
  if (error instanceof HeadraceError) return { code: error.code, message: error.message };
  return { code: "bad-response", message: error instanceof Error ? error.message : String(error) };
}

/** Without what the blocks already say. */
function lean(state: RunState): RunState {
  const { result: _result, metadata: _metadata, ...rest } = state;
  return rest;
}

/** Messages that did not change keep their identity, so that a page does not draw them again. */
function keepIdentity(stored: Conversation | undefined, known: Conversation | undefined): Conversation | undefined {
  if (stored === undefined || known === undefined || stored === known) return stored;
  const messages = stored.messages.map((message) => {
    const old = known.messages.find((candidate) => candidate.id === message.id);
    return old !== undefined && sameShape(old, message) ? old : message;
  });
  return { ...stored, messages };
}

function sameShape(a: ChatMessage, b: ChatMessage): boolean {
  if (a.role === "user" || b.role === "user") return a.role === b.role;
  // What is in memory may know more than what was stored when the storage was full.
  return a.run === b.run && (a.state !== undefined || b.state === undefined) && a.problem?.code === b.problem?.code;
}

function titleOf(text: string): string {
  const line = text.trim().replace(/\s+/g, " ");
  return line.length <= TITLE_LENGTH ? line || "New chat" : `${line.slice(0, TITLE_LENGTH - 1).trimEnd()}…`;
}

function keys(storage: ChatStorage): string[] {
  const found: string[] = [];
  for (let index = 0; index < storage.length; index += 1) {
    const key = storage.key(index);
    if (key?.startsWith(PREFIX)) found.push(key);
  }
  return found;
}

function readConversation(text: string | null): Conversation | undefined {
  if (text === null) return undefined;
  try {
    const value = JSON.parse(text) as Conversation;
    return typeof value.id === "string" && Array.isArray(value.messages) ? value : undefined;
  } catch {
    return undefined;
  }
}
