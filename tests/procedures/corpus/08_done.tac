-- The tool that ends a turn.
-- expect: {"called": true, "reason": "all written"}
-- real: differs
local done = require("headrace.tools.done")
worker = Agent { tools = { done }, temperature = 0, max_tokens = 60, max_turns = 2 }
worker('call done {"reason": "all written"}')
return { called = done.called(), reason = done.last_result() }
