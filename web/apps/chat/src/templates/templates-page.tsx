/**
 * The page for templates: write one, see what is wrong with it where it is, run it, watch its slots fill.
 *
 * The text at the left, what it does at the right; on a phone one of them at a time. `docs.ts` keeps what was
 * written, `check.ts` asks the server about it, `ui/use-run.ts` runs it.
 */

import { emptyRun } from "@headrace/client";
import { useCallback, useEffect, useMemo, useRef, useState, useSyncExternalStore } from "react";
import { ProblemCard } from "../chat/problem-card.tsx";
import { ModelPicker } from "../chat/model-picker.tsx";
import { FollowFromElsewhere } from "../chat/follow-popover.tsx";
import { Aside, useSlots } from "../chat/run-body.tsx";
import { UNKNOWN, cost, count, duration, seconds } from "../format.ts";
import { visible } from "../markdown/render.tsx";
import { go, usePlace } from "../router.ts";
import { SlotCards } from "../run/slot-cards.tsx";
import { requestOptions } from "../settings.ts";
import "../styles/templates.css";
import { CopyButton } from "../ui/copy.tsx";
import { Editor, type Diagnostic, type EditorHandle } from "../ui/editor.tsx";
import { useNow } from "../ui/hooks.ts";
import { Chevron, Close, Play, Share, Stop, Warning } from "../ui/icons.tsx";
import { Popover } from "../ui/popover.tsx";
import { useStarter, type Starter } from "../ui/use-run.ts";
import { wordsFor } from "../words.ts";
import { useCheck, type Check } from "./check.ts";
import { DocStore, asText, valuesOf, type Doc } from "./docs.ts";
import { GraphView } from "./graph-view.tsx";
import { Inputs } from "./inputs.tsx";
import { templateLanguage } from "./language.ts";
import { Library } from "./library.tsx";
import { SAMPLES } from "./samples.ts";
import { pack, unpack, type Shared } from "./share.ts";

const NOTHING = emptyRun("");
const store = new DocStore(localStorage);
addEventListener("storage", (event) => store.takeOver(event.key));

export default function TemplatesPage() {
  const place = usePlace();
  const docs = useSyncExternalStore(store.subscribe, store.getSnapshot);
  const doc = docs.find((one) => one.id === place.id);
  const shared = place.query.get("t");
  const [notice, setNotice] = useState<string>();

  // An address that names no template gets one: what a link holds, the last one, or the first sample.
  useEffect(() => {
    let late = false;
    if (shared !== null) {
      unpack(shared)
        .then((found) => !late && go(`templates/${store.add(found).id}`, { replace: true }))
        .catch((error: Error) => {
          if (late) return;
          setNotice(error.message);
          go("templates", { replace: true });
        });
    } else if (doc === undefined) {
      const next = store.getSnapshot()[0] ?? store.add(SAMPLES[0]!);
      go(`templates/${next.id}`, { replace: true });
    }
    return () => {
      late = true;
    };
  }, [shared, doc === undefined]);

  useEffect(() => {
    document.title = doc === undefined ? "Templates · Headrace" : `${doc.name} · Headrace`;
  }, [doc?.name]);

  if (doc === undefined || shared !== null) return <main className="main" />;
  return <Workbench key={doc.id} doc={doc} docs={docs} notice={notice} onNotice={setNotice} />;
}

type Tab = "edit" | "run" | "graph";

function Workbench(props: {
  readonly doc: Doc;
  readonly docs: readonly Doc[];
  readonly notice: string | undefined;
  readonly onNotice: (notice: string | undefined) => void;
}) {
  const { doc, docs, notice, onNotice } = props;
  const check = useCheck(doc.id, doc.text);
  const starter = useStarter(doc.run);
  const [tab, setTab] = useState<Tab>("edit");
  const [refused, setRefused] = useState<{ readonly text: string; readonly errors: readonly Diagnostic[] }>();
  const [anew, setAnew] = useState(false);
  const [stopAt, setStopAt] = useState("");
  const editor = useRef<EditorHandle>(null);
  const names = useMemo(() => (check.good?.variables ?? []).map((variable) => variable.name), [check.good]);
  const { values, problems } = useMemo(() => valuesOf(names, doc.inputs), [names, doc.inputs]);
  const errors = refused?.text === doc.text ? refused.errors : check.errors;
  const ready = check.state !== "wrong" && doc.text.trim() !== "" && Object.keys(problems).length === 0;

  const run = useCallback(() => {
    if (starter.busy || !ready) return;
    const { model, fallbacks } = requestOptions();
    const slots = new Set(check.good?.slots.map((slot) => slot.name));
    setTab("run");
    void starter
      .start({
        template: asText(doc.text),
        inputs: values,
        ...(model === undefined ? {} : { model }),
        ...(fallbacks === undefined ? {} : { fallbacks }),
        ...(anew ? { cache: false } : {}),
        ...(slots.has(stopAt) ? { stop_at: stopAt } : {}),
      })
      .then((id) => store.change(doc.id, { run: id }));
  }, [starter.busy, starter.start, ready, doc, values, anew, stopAt, check.good]);

  // What the server refuses at the start of a run is shown where what it says of the text is.
  useEffect(() => {
    const found = starter.problem?.details["errors"];
    if (Array.isArray(found) && found.length > 0) setRefused({ text: doc.text, errors: found as Diagnostic[] });
  }, [starter.problem]);

  const openDoc = (id: string) => go(`templates/${id}`);
  const add = (from: Shared) => openDoc(store.add(from).id);
  return (
    <main className="main templates" data-tab={tab}>
      <header className="topbar">
        <Popover
          label="Open a template"
          className="model-button"
          button={
            <>
              <span>{visible(doc.name)}</span>
              <Chevron size={16} />
            </>
          }
        >
          {(close) => (
            <>
              <label className="library-name">
                <span>Name</span>
                <input
                  value={doc.name}
                  maxLength={100}
                  onChange={(event) => store.change(doc.id, { name: event.target.value })}
                />
              </label>
              <Library
                docs={docs}
                current={doc.id}
                onOpen={(id) => (close(), openDoc(id))}
                onNew={(from) => (close(), add(from))}
                onRemove={(id) => {
                  store.remove(id);
                  if (id === doc.id) close();
                }}
              />
            </>
          )}
        </Popover>
        <ModelPicker />
        <span className="topbar-space" />
        <Popover label="Share this template" button={<Share />}>
          {() => <ShareTemplate doc={doc} run={starter.run} />}
        </Popover>
        {starter.busy ? (
          <button type="button" className="button" disabled={starter.stopping} onClick={starter.stop}>
            <Stop size={16} /> {starter.stopping ? "Stopping…" : "Stop"}
          </button>
        ) : (
          <button
            type="button"
            className="button primary"
            disabled={!ready}
            title={ready ? "Run (Ctrl+Enter)" : "There is something to mend first"}
            onClick={run}
          >
            <Play size={15} /> Run
          </button>
        )}
      </header>
      {notice !== undefined && (
        <div className="banner" role="alert">
          <span>{notice}</span>
          <button type="button" className="icon-button small" aria-label="Close" onClick={() => onNotice(undefined)}>
            <Close size={15} />
          </button>
        </div>
      )}
      <div className="bench">
        <div className="tabs" role="group" aria-label="Show">
          {(["edit", "run", "graph"] as const).map((name) => (
            <button key={name} type="button" aria-pressed={tab === name} data-tab={name} onClick={() => setTab(name)}>
              {TABS[name]}
            </button>
          ))}
        </div>
        <section className="bench-edit" aria-label="The template's text">
          <Editor
            ref={editor}
            label="Template"
            value={doc.text}
            language={templateLanguage}
            diagnostics={errors}
            placeholder="Tell me about {{ topic }}. [[answer]]"
            onChange={(text) => store.change(doc.id, { text })}
            onSubmit={run}
          />
          <CheckLine check={check} errors={errors} onGo={(error) => editor.current?.goTo(error.line, error.column)} />
        </section>
        <section className="bench-run" aria-label="Inputs and answers">
          <details className="inputs-box" open>
            <summary>
              <h2>Inputs</h2>
              <Chevron size={16} />
            </summary>
            <Inputs
              names={names}
              inputs={doc.inputs}
              problems={problems}
              onChange={(inputs) => store.change(doc.id, { inputs })}
            />
            <div className="run-options">
              <label>
                <input type="checkbox" checked={anew} onChange={(event) => setAnew(event.target.checked)} /> Ask anew,
                use no kept answers
              </label>
              <label>
                Stop after
                <select value={stopAt} onChange={(event) => setStopAt(event.target.value)}>
                  <option value="">the last slot</option>
                  {[...new Set(check.good?.slots.map((slot) => slot.name))].map((name) => (
                    <option key={name}>{name}</option>
                  ))}
                </select>
              </label>
            </div>
          </details>
          <Results starter={starter} check={check} />
        </section>
        <section className="bench-graph" aria-label="Graph">
          <Graph check={check} starter={starter} />
        </section>
      </div>
    </main>
  );
}

const TABS: Readonly<Record<Tab, string>> = { edit: "Text", run: "Run", graph: "Graph" };

/** What is wrong, as a list that can be reached by keyboard; the editor shows the same in the text. */
function CheckLine(props: {
  readonly check: Check;
  readonly errors: readonly Diagnostic[];
  readonly onGo: (error: Diagnostic) => void;
}) {
  const { check, errors, onGo } = props;
  if (errors.length > 0) {
    return (
      <div className="check" data-state="wrong">
        <p role="status">
          <Warning size={16} /> {errors.length === 1 ? "1 thing is wrong" : `${errors.length} things are wrong`}
        </p>
        <ul>
          {errors.map((error, index) => (
            <li key={index}>
              <button type="button" onClick={() => onGo(error)}>
                <code>
                  {error.line}:{error.column}
                </code>{" "}
                {visible(error.message)}
              </button>
            </li>
          ))}
        </ul>
      </div>
    );
  }
  const { good, failure, state } = check;
  return (
    <div className="check" data-state={state}>
      <p role="status">
        {state === "failed" && failure !== undefined
          ? `Not checked: ${wordsFor(failure.code).title}.`
          : good === undefined
            ? "Checking…"
            : `Nothing is wrong. ${plural(good.slots.length, "slot")}, ${plural(good.segments.length, "segment")}.`}
      </p>
    </div>
  );
}

function Results({ starter, check }: { readonly starter: Starter; readonly check: Check }) {
  const { followed, problem } = starter;
  const state = followed?.state;
  const slots = useSlots(state ?? NOTHING);
  const good = check.good;
  const error = state?.error ?? followed?.error ?? (problem?.code === "template-error" ? undefined : problem);
  return (
    <div className="results" aria-label="Answers" role="region">
      {followed !== undefined && <RunLine starter={starter} />}
      {problem?.code === "template-error" && (
        <p className="problem-text">The template was refused; the text says where.</p>
      )}
      {error !== undefined && state?.outcome !== "cancelled" && (
        <ProblemCard
          words={wordsFor(error.code, state?.error?.retryable)}
          code={error.code}
          message={error.message}
          onReattach={followed?.error === undefined ? undefined : followed.reattach}
        />
      )}
      <SlotCards
        state={state}
        slots={slots}
        expected={good?.slots ?? []}
        segments={good?.segments.map((segment) => segment.name) ?? []}
        waves={good?.waves ?? []}
      />
      {state !== undefined && <Aside state={state} live={followed?.live ?? false} />}
      {state?.result?.["early_termination"] === true && <p className="note">It ended early, as it was told to.</p>}
    </div>
  );
}

/** How the run stands, with its figures. */
function RunLine({ starter }: { readonly starter: Starter }) {
  const { state, live, connection } = starter.followed!;
  const now = useNow(live, 500);
  const elapsed = state.elapsed_ms ?? (live && state.started !== undefined ? now - state.started : undefined);
  const tokens = state.usage?.output_tokens;
  const reported = state.ended && (state.usage?.basis ?? "reported") === "reported";
  const said = state.outcome ?? (live ? (connection === "retrying" ? "reconnecting…" : "running") : "not followed");
  return (
    <p className="run-line">
      <span className="badge" role="status" data-outcome={state.outcome ?? (live ? "live" : "failed")}>
        {said === "cancelled" ? "stopped" : said}
      </span>
      <span className="figures" data-live={live}>
        {elapsed !== undefined && <span>{live ? seconds(elapsed) : duration(elapsed)}</span>}
        {typeof tokens === "number" && <span>{`${reported ? "" : "~"}${count(tokens)} tokens`}</span>}
        {state.ended && <span>cost {state.cost === undefined ? UNKNOWN : cost(state.cost, state.currency)}</span>}
      </span>
      {starter.run !== undefined && (
        <Popover label="Follow from elsewhere" className="icon-button small" button={<Share size={15} />}>
          {() => <FollowFromElsewhere run={starter.run!} />}
        </Popover>
      )}
    </p>
  );
}

function Graph({ check, starter }: { readonly check: Check; readonly starter: Starter }) {
  const slots = useSlots(starter.followed?.state ?? NOTHING);
  if (check.good === undefined) return <p className="muted">The graph is drawn when nothing is wrong with the text.</p>;
  return (
    <>
      <GraphView mermaid={check.good.graph} slots={slots} />
      <h2>What will be asked, and when</h2>
      <pre className="explain">{visible(check.good.explain)}</pre>
      <details className="fold">
        <summary>
          <span>The graph as Mermaid</span>
          <Chevron size={16} />
        </summary>
        <div className="fold-body">
          <CopyButton text={check.good.graph} label="Copy Mermaid" words="Copy" />
          <pre className="json">{visible(check.good.graph)}</pre>
        </div>
      </details>
    </>
  );
}

/** Past this, messengers and mail programs begin to cut links off. */
const LONG = 8_000;

function ShareTemplate({ doc, run }: { readonly doc: Doc; readonly run: string | undefined }) {
  const [link, setLink] = useState<string>();
  useEffect(() => {
    let late = false;
    void pack(doc).then((packed) => {
      if (!late) setLink(`${location.origin}${location.pathname}#/templates?t=${packed}`);
    });
    return () => {
      late = true;
    };
  }, [doc]);
  return (
    <div className="share">
      <h2>A link to this template</h2>
      <p className="muted">
        It holds the text and the inputs. What stands behind the # is never sent to a server: who has the link has the
        text.
      </p>
      {link !== undefined && (
        <p className="share-line">
          <code>{link}</code>
          <CopyButton text={link} label="Copy the link" />
        </p>
      )}
      {link !== undefined && link.length > LONG && (
        <p className="problem-text">It is long; some programs cut such links off.</p>
      )}
      {run !== undefined && <FollowFromElsewhere run={run} />}
    </div>
  );
}

function plural(number: number, word: string): string {
  return `${count(number)} ${word}${number === 1 ? "" : "s"}`;
}
