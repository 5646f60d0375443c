/** The page's entry. What it shows is in `routes.tsx`; what it knows is in `state.ts`. */

import "@fontsource-variable/inter/wght.css";
import "@fontsource-variable/inter/wght-italic.css";
import "./styles/tokens.css";
import "./styles/base.css";
import "./styles/shell.css";
import "./styles/thread.css";
import "./styles/markdown.css";
import "./styles/values.css";
import { createRoot } from "react-dom/client";
import { Routes } from "./routes.tsx";
import { applyTheme } from "./settings.ts";

applyTheme();
createRoot(document.getElementById("root")!).render(<Routes />);
