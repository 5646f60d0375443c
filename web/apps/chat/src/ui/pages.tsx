/**
 * The pages of the app and the navigation between them. A page is one line here.
 *
 * A page's module exports its component as `default` and is loaded when it is first opened, so that no page
 * pays for another. The chat is the first page of everybody and is in the first bundle.
 */

import { Component, Suspense, lazy, useEffect, type ComponentType, type ReactNode } from "react";
import { SettingsDialog } from "../chat/settings-dialog.tsx";
import { usePlace } from "../router.ts";
import { loadModels } from "../state.ts";
import { Bubble, Braces, Flow, Nodes } from "./icons.tsx";

export interface Page {
  /** The first part of the hash, and what the link says. */
  readonly path: string;
  readonly name: string;
  readonly icon: ComponentType<{ readonly size?: number }>;
  /** Absent for the chat, which `routes.tsx` draws itself. */
  readonly view?: ComponentType;
}

export const PAGES: readonly Page[] = [
  { path: "", name: "Chat", icon: Bubble },
  { path: "companion", name: "Companion", icon: Nodes, view: lazy(() => import("../companion/companion-page.tsx")) },
  { path: "templates", name: "Templates", icon: Braces, view: lazy(() => import("../templates/templates-page.tsx")) },
  { path: "procedures", name: "Procedures", icon: Flow, view: lazy(() => import("../procedures/procedures-page.tsx")) },
];

/** The page and the links to the others: a rail at the side, a bar at the foot of a phone. */
export function Pages({ children }: { readonly children: ReactNode }) {
  const here = usePlace().page;
  const current = PAGES.find((page) => page.path === here) ?? PAGES[0];
  useEffect(() => void loadModels(), []);
  return (
    <div className="app">
      <nav className="pages" aria-label="Pages">
        {PAGES.map((page) => (
          <a key={page.path} href={`#/${page.path}`} aria-current={page === current ? "page" : undefined}>
            <page.icon size={20} />
            <span>{page.name}</span>
          </a>
        ))}
      </nav>
      <Guard key={current?.path}>
        <Suspense fallback={<p className="page-wait">Loading…</p>}>{children}</Suspense>
      </Guard>
      <SettingsDialog />
    </div>
  );
}

/** A page that cannot be loaded or drawn leaves the others standing. */
class Guard extends Component<{ readonly children: ReactNode }, { readonly failure?: Error }> {
  override state: { readonly failure?: Error } = {};

  static getDerivedStateFromError(failure: Error): { failure: Error } {
    return { failure };
  }

  override render(): ReactNode {
    const { failure } = this.state;
    if (failure === undefined) return this.props.children;
    return (
      <main className="page-wait" role="alert">
        <p>This page could not be shown: {failure.message}</p>
        <button type="button" className="button" onClick={() => location.reload()}>
          Load again
        </button>
      </main>
    );
  }
}
