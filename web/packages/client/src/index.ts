/** The client's public names. */

export { ChatStore, isRunning, requestOf, runningAnswer } from "./chat-store.ts";
export type {
  Answer,
  ChatMessage,
  ChatSnapshot,
  Conversation,
  Question,
  ChatStorage,
  ChatStoreOptions,
  RequestOptions,
} from "./chat-store.ts";
export { HeadraceError } from "./errors.ts";
export { parseEvent } from "./events.ts";
export type * from "./events.ts";
export { emptyRun, fold, fromInfo, textOf } from "./fold.ts";
export type { Attempt, Block, Field, HumanAsk, Note, RunState, RunStatus, Span, ToolCall } from "./fold.ts";
export { follow } from "./follow.ts";
export type { Connection, Fetch, FollowOptions } from "./follow.ts";
export { conversationId, uuid } from "./ids.ts";
export { RunView, everyFrame } from "./run-view.ts";
export type { RunSnapshot, Schedule } from "./run-view.ts";
export { parsePartial, shapeOf, shapeOfFields } from "./shape.ts";
export type { Shape } from "./shape.ts";
export { slotsOf } from "./slots.ts";
export type { SlotState } from "./slots.ts";
export { sseParser } from "./sse.ts";
export type { SseFrame, SseParser } from "./sse.ts";
export { HttpTransport } from "./transport.ts";
export type { HttpTransportOptions, Message, StartBody, Started, Transport } from "./transport.ts";
