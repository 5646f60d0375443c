-- A program may catch what an agent's check refuses, and go on.
-- expect: {"caught": true, "after": "still here"}
-- real: differs
strict = Agent { output = { n = field.integer{required = true} }, temperature = 0, max_tokens = 30 }
other = Agent { temperature = 0, max_tokens = 8 }
local fine, why = pcall(strict, 'json {"n": "x"}')
return { caught = not fine and why:find("output.n must be an integer", 1, true) ~= nil, after = other("say still here").text }
