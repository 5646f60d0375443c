-- An agent with an output block answers a table.
-- expect: {"mood": "calm", "sum": 7, "kind": "table"}
judge = Agent {
  output = { mood = field.string{required = true, enum = {"calm", "wild"}}, score = field.integer{required = true, min = 1, max = 9} },
  temperature = 0, max_tokens = 60,
}
local found = judge('json {"mood": "calm", "score": 7}').output
return { mood = found.mood, sum = found.score, kind = type(found) }
