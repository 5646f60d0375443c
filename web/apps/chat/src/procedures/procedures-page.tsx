/**
 * The IDE for procedures: the workspace's files, an editor, a form of the program's inputs, and the run.
 *
 * The address says which program and which run are open (`#/procedures/sub/story.tac?run=…`), so a reload, another
 * browser or a link comes to the same. A run is started once, by one POST with a key, and then followed by its id:
 * what breaks the connection never starts it again.
 */

import { StreamLanguage } from "@codemirror/language";
import { lua } from "@codemirror/legacy-modes/mode/lua";
import { HeadraceError } from "@headrace/client";
import { useCallback, useEffect, useMemo, useRef, useState } from "react";
import { openSettings } from "../chat/settings-dialog.tsx";
import { ModelPicker } from "../chat/model-picker.tsx";
import { go, usePlace } from "../router.ts";
import { getSettings } from "../settings.ts";
import "../styles/procedures.css";
import { Editor, type EditorHandle } from "../ui/editor.tsx";
import { useStickyScroll } from "../ui/hooks.ts";
import { Down, Gear, Play, Retry, Stop } from "../ui/icons.tsx";
import { useStarter } from "../ui/use-run.ts";
import * as api from "./api.ts";
import { FileList, PastRuns } from "./file-list.tsx";
import { valuesOf, type Typed } from "./form-values.ts";
import { InputForm } from "./input-form.tsx";
import { Broken, RunLog } from "./run-view.tsx";
import { FIRST, useProgram } from "./use-program.ts";

const LUA = StreamLanguage.define(lua);
const TABS = ["Files", "Program", "Run"] as const;

export default function ProceduresPage() {
  const place = usePlace();
  const path = place.parts.length > 0 ? place.parts.join("/") : undefined;
  const wanted = place.query.get("run") ?? undefined;
  const [tree, setTree] = useState<api.Tree>();
  const [none, setNone] = useState<HeadraceError>();
  const scratch = none?.code === "forbidden";
  const program = useProgram(path, scratch);
  const starter = useStarter(wanted);
  const { followed, busy } = starter;
  const [runs, setRuns] = useState<readonly api.PastRun[]>([]);
  const [story, setStory] = useState<api.Story>();
  const [typed, setTyped] = useState<Typed>({});
  const [tried, setTried] = useState(false);
  const [problem, setProblem] = useState<HeadraceError>();
  const [tab, setTab] = useState<(typeof TABS)[number]>(path === undefined ? "Files" : "Program");
  const editor = useRef<EditorHandle>(null);
  const scroll = useStickyScroll();

  const specs = useRef<api.Checked["inputs"]>(undefined);
  specs.current = program.checked?.inputs ?? specs.current; // an error in the text does not take the form away
  const { inputs, problems } = useMemo(() => valuesOf(specs.current ?? {}, typed), [program.checked, typed]);

  const loadTree = useCallback(
    () =>
      api.files().then(
        (found) => {
          setTree(found);
          setNone(undefined);
        },
        (error: HeadraceError) => setNone(error),
      ),
    [],
  );
  const loadRuns = useCallback(
    () =>
      api.history(path).then(
        (found) => setRuns(found.runs),
        () => {},
      ),
    [path],
  );

  useEffect(() => void loadTree(), [loadTree]);
  useEffect(() => {
    document.title = `${path ?? "Procedures"} · Headrace`;
    specs.current = undefined;
    setTyped({});
    setTried(false);
  }, [path]);
  useEffect(() => void loadRuns(), [loadRuns, starter.run, followed?.state.ended]);
  useEffect(() => {
    // Somebody went to another address: show what it names.
    if (wanted !== starter.run && !busy) starter.show(wanted);
    // eslint-disable-next-line react-hooks/exhaustive-deps
  }, [wanted]);

  const gone = followed !== undefined && followed.state.ended && followed.state.seq === 0;
  useEffect(() => {
    setStory(undefined);
    if (!gone || starter.run === undefined) return;
    let left = false;
    api.story(starter.run).then(
      (told) => void (left || setStory(told)),
      (error: HeadraceError) => void (left || setProblem(error)),
    );
    return () => void (left = true);
  }, [gone, starter.run]);

  const open = (next: string) => {
    setProblem(undefined);
    starter.show(undefined);
    go(addressOf(next));
    setTab("Program");
  };

  const show = (run: string) => {
    setProblem(undefined);
    starter.show(run);
    go(addressOf(path, run));
    setTab("Run");
    scroll.toEnd();
  };

  const run = async () => {
    setTried(true);
    if (busy || program.loading || Object.keys(problems).length > 0) {
      setTab("Run");
      return;
    }
    setProblem(undefined);
    if (!(await program.save())) return;
    setTab("Run");
    scroll.toEnd();
    const { model } = getSettings();
    const started = await starter.start({
      procedure: path ?? program.text,
      inputs,
      on_disconnect: "continue",
      ...(model === "" ? {} : { model }),
    });
    if (started !== undefined) go(addressOf(path, started), { replace: wanted === undefined });
  };

  const create = async (name: string): Promise<string | undefined> => {
    try {
      await api.save(name, FIRST, undefined);
    } catch (error) {
      return (error as Error).message;
    }
    await loadTree();
    open(name);
    return undefined;
  };

  const failed = followed?.state.error;
  const diagnostics = useMemo(() => {
    const found = (program.checked?.errors ?? []).map((error) => ({ ...error }));
    const line = failed?.details?.["line"];
    if (found.length === 0 && typeof line === "number" && !program.dirty && failed !== undefined)
      found.push({ line, column: 1, message: failed.message.replace(/^[^:\s]+:\d+: /, "") });
    return found;
  }, [program.checked, failed, program.dirty]);
  const wrong = program.checked?.ok === false;

  return (
    <main className="main ide" data-tab={tab}>
      <header className="topbar ide-bar">
        <div className="ide-tabs" role="tablist" aria-label="Parts of the page">
          {TABS.map((name) => (
            <button key={name} type="button" role="tab" aria-selected={tab === name} onClick={() => setTab(name)}>
              {name}
            </button>
          ))}
        </div>
        <h1>
          {path ?? (scratch ? "Scratch" : "Procedures")}
          {program.dirty && <i className="dirty" title="Not saved" />}
        </h1>
        <span className="topbar-space" />
        <ModelPicker />
        <button type="button" className="icon-button" aria-label="Settings" onClick={openSettings}>
          <Gear />
        </button>
        {path !== undefined && (
          <button type="button" className="button" disabled={!program.dirty} onClick={() => void program.save()}>
            Save
          </button>
        )}
        {busy ? (
          <button
            key="stop"
            type="button"
            className="button stop"
            disabled={starter.stopping || starter.run === undefined}
            onClick={starter.stop}
          >
            <Stop size={16} /> {starter.stopping ? "Stopping…" : "Stop"}
          </button>
        ) : (
          <button
            key="run"
            type="button"
            className="button primary"
            disabled={program.loading || wrong || (path === undefined && !scratch)}
            onClick={() => void run()}
          >
            <Play size={16} /> Run
          </button>
        )}
      </header>
      <div className="ide-columns">
        <aside className="ide-side" aria-label="Workspace">
          {tree !== undefined && (
            <FileList tree={tree} current={path} dirty={program.dirty} onOpen={open} onNew={create} />
          )}
          {scratch && (
            <p className="muted small ide-hint">
              This server has no workspace, so this one program is kept in your browser. Start it with{" "}
              <code>headrace serve --workspace DIR</code> to edit files.
            </p>
          )}
          <PastRuns
            runs={runs}
            current={starter.run}
            onOpen={(past) => {
              setProblem(undefined);
              starter.show(past.run);
              go(addressOf(past.path || path, past.run));
              setTab("Run");
            }}
          />
        </aside>
        <section className="ide-program" aria-label="Program">
          {none !== undefined && !scratch && <Broken error={none} onReattach={() => void loadTree()} />}
          {program.stale && (
            <div className="banner" role="alert">
              <span>Somebody else has changed this file since you opened it. Your text is still here.</span>
              <button type="button" className="button small" onClick={program.reload}>
                <Retry size={14} /> Load theirs
              </button>
            </div>
          )}
          {program.problem !== undefined && <Broken error={program.problem} onReattach={program.reload} />}
          {path === undefined && !scratch ? (
            <div className="empty ide-empty">
              <h2>Agents, in a few lines of Lua</h2>
              <p className="muted">Open a program of the workspace, or make a new one with +.</p>
            </div>
          ) : (
            <Editor
              ref={editor}
              label="Program text"
              value={program.text}
              onChange={program.edit}
              language={LUA}
              diagnostics={diagnostics}
              readOnly={program.loading}
              onSubmit={() => void run()}
            />
          )}
          <Verdict checked={program.checked} onLine={(line) => editor.current?.goTo(line)} />
        </section>
        <section className="ide-run" aria-label="Run">
          <div className="scroller" ref={scroll.scroller}>
            <div ref={scroll.content} className="ide-thread" aria-live="off">
              {specs.current !== undefined && (
                <InputForm
                  specs={specs.current}
                  typed={typed}
                  problems={tried ? problems : {}}
                  onChange={setTyped}
                  onSubmit={() => void run()}
                />
              )}
              {starter.problem !== undefined && <Broken error={starter.problem} />}
              {problem !== undefined && <Broken error={problem} />}
              {followed !== undefined && (!gone || story !== undefined) && (
                <RunLog
                  followed={followed}
                  story={story}
                  onAnswer={async (request, value) => {
                    const going = await api.answer(followed.state.run, request, value);
                    if (going !== followed.state.run) show(going);
                  }}
                  onResume={() => {
                    setProblem(undefined);
                    api.resume(followed.state.run, path).then(show, setProblem);
                  }}
                  onLine={(line) => {
                    setTab("Program");
                    editor.current?.goTo(line);
                  }}
                />
              )}
            </div>
          </div>
          {!scroll.atEnd && (
            <div className="dock slim">
              <button type="button" className="jump" onClick={() => scroll.toEnd(true)}>
                <Down size={15} /> Jump to latest
              </button>
            </div>
          )}
        </section>
      </div>
    </main>
  );
}

/** What the check says in a line: what there is, or what is wrong first. */
function Verdict(props: { readonly checked: api.Checked | undefined; readonly onLine: (line: number) => void }) {
  const { checked } = props;
  if (checked === undefined) return null;
  const wrong = checked.errors[0];
  if (wrong !== undefined) {
    return (
      <button type="button" className="verdict" data-ok="false" onClick={() => props.onLine(wrong.line)}>
        Line {wrong.line}: {wrong.message}
      </button>
    );
  }
  const agents = (checked.agents ?? []).map((agent) => agent.name).join(", ");
  const tools = (checked.tools ?? []).join(", ");
  return (
    <p className="verdict" data-ok="true">
      No errors. {agents === "" ? "No agents" : `Agents: ${agents}`}
      {tools === "" ? "" : ` · Tools: ${tools}`}
    </p>
  );
}

function addressOf(path: string | undefined, run?: string): string {
  const parts = (path ?? "")
    .split("/")
    .filter((part) => part !== "")
    .map(encodeURIComponent);
  const query = run === undefined ? "" : `?run=${encodeURIComponent(run)}`;
  return ["procedures", ...parts].join("/") + query;
}
