-- Own, shared and no history; the messages of a turn.
-- expect: {"own": 4, "none": 2, "shared": 2, "roles": ["user", "assistant"]}
own = Agent { temperature = 0, max_tokens = 8 }
none = Agent { history = "none", temperature = 0, max_tokens = 8 }
left = Agent { history = "shared", temperature = 0, max_tokens = 8 }
right = Agent { history = "shared", temperature = 0, max_tokens = 8 }
own("say a")
local second = own("say b")
none("say c")
left("say d")
local answer = right("say e")
local roles = {}
for i, message in ipairs(answer:new_messages()) do roles[i] = message.role end
return { own = 2 * #second:new_messages(), none = #none("say f"):new_messages(), shared = #answer:new_messages(), roles = roles }
