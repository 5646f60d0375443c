/** Every page of the app, by the first part of the hash. A new page is a new line here. */

import { ChatPage } from "./chat/chat-page.tsx";
import { usePlace } from "./router.ts";
import { RunPage } from "./run/run-page.tsx";

export function Routes() {
  const place = usePlace();
  if (place.run !== undefined) return <RunPage run={place.run} />;
  switch (place.page) {
    default:
      return <ChatPage conversation={place.page === "c" ? place.id : undefined} />;
  }
}
