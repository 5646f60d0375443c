-- A tool that asks another agent: a turn inside a turn.
-- expect: {"text": "outer is done", "inner": "inner spoke"}
-- real: differs
inner = Agent { temperature = 0, max_tokens = 8 }
ask = Tool { description = "Asks the other.", function() return inner("say inner spoke").text end }
outer = Agent { tools = { ask }, temperature = 0, max_tokens = 40, max_turns = 2 }
local text = outer("call ask {} || say outer is done").text
return { text = text, inner = ask.last_result() }
