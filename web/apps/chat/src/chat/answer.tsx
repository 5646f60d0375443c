/** One answer: waiting, streaming, finished, stopped or failed; with its figures and its actions. */

import { textOf, type Answer, type RunSnapshot } from "@headrace/client";
import { memo } from "react";
import { UNKNOWN, cost, count, duration, figures, seconds } from "../format.ts";
import { CopyButton } from "../ui/copy.tsx";
import { useNow } from "../ui/hooks.ts";
import { Retry } from "../ui/icons.tsx";
import { wordsFor } from "../words.ts";
import { FollowPopover } from "./follow-popover.tsx";
import { ProblemCard } from "./problem-card.tsx";
import { RunBody } from "./run-body.tsx";
import { useAnswer } from "./use-run.ts";

/** Codes that say there is nothing left to follow: the question can only be asked anew. */
const GONE: ReadonlySet<string> = new Set(["run-not-found", "retention-passed"]);

export const AnswerView = memo(function AnswerView(props: {
  readonly answer: Answer;
  readonly last: boolean;
  readonly onRetry: () => void;
  readonly onReattach: () => void;
}) {
  const { answer, last } = props;
  const snapshot = useAnswer(answer);
  const live = answer.state === undefined && answer.problem === undefined && !snapshot.state.ended;
  return (
    <RunAnswer
      snapshot={snapshot}
      live={live}
      since={answer.at}
      model={snapshot.state.model ?? answer.request.model}
      maxTokens={answer.request.max_tokens}
      problem={answer.problem}
      {...(last && !live ? { onRetry: props.onRetry } : {})}
      {...(answer.run !== undefined ? { onReattach: props.onReattach } : {})}
    />
  );
});

export function RunAnswer(props: {
  readonly snapshot: RunSnapshot;
  readonly live: boolean;
  /** When it was asked for, by this browser's clock. */
  readonly since: number | undefined;
  readonly model: string | undefined;
  readonly maxTokens?: number | undefined;
  readonly problem?: { readonly code: string; readonly message: string } | undefined;
  readonly onRetry?: () => void;
  readonly onReattach?: () => void;
}) {
  const { snapshot, live } = props;
  const { state } = snapshot;
  const shown = state.blocks.length > 0 || state.fields.length > 0 || state.spans.some((span) => span.kind === "slot");
  const error = state.error ?? props.problem;
  const retryable = state.error?.retryable;
  return (
    <article className="answer" aria-busy={live} aria-label="Answer" data-outcome={state.outcome}>
      <RunBody state={state} live={live} />
      {live && !shown && <Waiting since={props.since} snapshot={snapshot} />}
      {live && snapshot.connection === "retrying" && (
        <p className="note reconnecting" role="status">
          <span className="dot" /> Reconnecting…
        </p>
      )}
      {!live && error !== undefined && state.outcome !== "cancelled" && (
        <ProblemCard
          words={wordsFor(error.code, retryable)}
          code={error.code}
          message={error.message}
          onRetry={props.onRetry}
          onReattach={state.ended || GONE.has(error.code) ? undefined : props.onReattach}
        />
      )}
      {state.outcome === "interrupted" && state.error === undefined && (
        <ProblemCard words={wordsFor("interrupted")} code="interrupted" message="" onRetry={props.onRetry} />
      )}
      {state.outcome === "cancelled" && <p className="note">Stopped{shown ? "" : " before the first word"}.</p>}
      {state.finish_reason === "length" && <p className="note">Cut off at the token limit.</p>}
      {state.finish_reason === "content-filter" && <p className="note">Cut off by the provider's filter.</p>}
      {state.ended &&
        state.outcome === "completed" &&
        !shown &&
        state.outputs.length === 0 &&
        state.result?.["values"] === undefined && <p className="note">The model ended its answer without a word.</p>}
      {(shown || state.ended) && <Footer {...props} />}
    </article>
  );
}

function Waiting({ since, snapshot }: { readonly since: number | undefined; readonly snapshot: RunSnapshot }) {
  const now = useNow(true, 200);
  const status = snapshot.state.status;
  const waited = since === undefined ? undefined : now - since;
  const words =
    status?.position !== undefined && status.position > 0
      ? `In the queue, place ${status.position}`
      : status?.message || "Waiting for the first word";
  return (
    <p className="waiting" role="status">
      <span className="ripple" aria-hidden="true">
        <i />
        <i />
        <i />
      </span>
      <span>{words}</span>
      {waited !== undefined && waited >= 800 && (
        <span className="muted" aria-hidden="true">
          {seconds(waited)}
        </span>
      )}
    </p>
  );
}

function Footer(props: Parameters<typeof RunAnswer>[0]) {
  const { state } = props.snapshot;
  const { live, since } = props;
  const now = useNow(live, 500);
  const figure = figures(state, props.maxTokens);
  const elapsed = figure.elapsedMs ?? (live && since !== undefined ? now - since : undefined);
  // A fallback that took over is the one to name.
  const model = state.attempts.length > 1 ? state.attempts.at(-1)?.model : undefined;
  return (
    <footer className="answer-foot">
      <div className="answer-actions">
        <CopyButton text={textOf(state)} label="Copy answer" />
        {props.onRetry !== undefined && (
          <button
            type="button"
            className="icon-button small"
            aria-label="Ask again"
            title="Ask again"
            onClick={props.onRetry}
          >
            <Retry size={15} />
          </button>
        )}
        {state.run !== "" && <FollowPopover run={state.run} />}
      </div>
      <dl className="figures" data-live={live}>
        <Figure name="Model" value={model ?? props.model ?? UNKNOWN} />
        {(figure.tokens !== undefined || state.blocks.length > 0) && (
          <Figure
            name="Output tokens"
            value={
              figure.tokens === undefined
                ? `${UNKNOWN} tokens`
                : `${figure.guessed ? "~" : ""}${count(figure.tokens)} tokens`
            }
            title={figure.guessed ? "Estimated" : "Reported by the provider"}
          />
        )}
        {figure.firstTokenMs !== undefined && (
          <Figure name="Time to first token" value={`first ${duration(figure.firstTokenMs)}`} />
        )}
        {figure.tokensPerSecond !== undefined && (
          <Figure name="Tokens a second" value={`${figure.guessed ? "~" : ""}${rate(figure.tokensPerSecond)} tok/s`} />
        )}
        {elapsed !== undefined && <Figure name="Total time" value={live ? seconds(elapsed) : duration(elapsed)} />}
        {live && figure.leftMs !== undefined && (
          <Figure
            name="Time left"
            value={`at most ${seconds(figure.leftMs)} left`}
            title="Until the token limit, at this speed"
          />
        )}
        {!live && (
          <Figure
            name="Cost"
            value={state.cost === undefined ? `cost ${UNKNOWN}` : cost(state.cost, state.currency)}
            title={state.cost === undefined ? "The cost is not known" : "Cost"}
          />
        )}
      </dl>
    </footer>
  );
}

function rate(value: number): string {
  return value < 10 ? value.toFixed(1) : count(Math.round(value));
}

function Figure({ name, value, title }: { readonly name: string; readonly value: string; readonly title?: string }) {
  return (
    <div title={title ?? name}>
      <dt>{name}</dt>
      <dd>{value}</dd>
    </div>
  );
}
