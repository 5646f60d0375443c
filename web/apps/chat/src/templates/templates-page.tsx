/** The page for templates: write one, see what is wrong with it, run it and watch its slots fill. */

import { useState } from "react";
import { Editor } from "../ui/editor.tsx";

export default function TemplatesPage() {
  const [text, setText] = useState("Say hello to {{ name }}: [[text:hello]]\n");
  return (
    <main className="main">
      <Editor label="Template" value={text} onChange={setText} />
    </main>
  );
}
