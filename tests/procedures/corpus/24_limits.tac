-- Rounds, choice of tool, what a turn used.
-- expect: {"rounds": 2, "tokens": true, "finish": "tool-calls"}
-- real: differs
again = Tool { function() return "again" end }
loops = Agent { tools = { again }, tool_choice = "auto", max_turns = 2, temperature = 0, max_tokens = 40 }
local result = loops("call again {}")
return { rounds = again.call_count(), tokens = result.usage.output_tokens > 0, finish = result.finish_reason }
