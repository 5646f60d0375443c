"""Routes that other people's clients already speak, on the same runs.

`sending` sends a run in any dialect; `openai_chat` and `plain` are the routes; `ROUTES` is what the app takes.
"""

from headrace.server.compat import ag_ui, ai_sdk, openai_chat, openai_responses, plain

ROUTES = (openai_chat.routes, openai_responses.routes, ai_sdk.routes, ag_ui.routes, plain.routes)

__all__ = ["ROUTES"]
