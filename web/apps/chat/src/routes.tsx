/** Which page is shown, by the first part of the hash. The list of pages is in `ui/pages.tsx`. */

import { ChatPage } from "./chat/chat-page.tsx";
import { usePlace } from "./router.ts";
import { RunPage } from "./run/run-page.tsx";
import { PAGES, Pages } from "./ui/pages.tsx";

export function Routes() {
  const place = usePlace();
  if (place.run !== undefined) return <RunPage run={place.run} />;
  const View = PAGES.find((page) => page.path === place.page)?.view;
  return (
    <Pages>
      {View === undefined ? <ChatPage conversation={place.page === "c" ? place.id : undefined} /> : <View />}
    </Pages>
  );
}
