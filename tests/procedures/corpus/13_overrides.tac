-- What a call changes for once; the first message of an agent that is called without one.
-- expect: ["Begun.", "with more", "stop"]
worker = Agent { initial_message = "say Begun.", context = { place = "here" }, temperature = 1, max_tokens = 4 }
local first = worker({ temperature = 0 })
local second = worker({ message = "say with more", temperature = 0, max_tokens = 8, context = "Only now." })
return { first.text, second.text, second.finish_reason == "length" and "stop" or second.finish_reason }
