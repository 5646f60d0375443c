-- State and parameters in prompts.
-- inputs: {"who": "Ada"}
-- expect: {"n": 2, "text": "state seen"}
input { who = field.string{required = true} }
state.round = 0
state.notes = { first = "kept" }
a = Agent {
  system_prompt = "{params.who} is in round {state.round}; {state.notes.first}; {input.who}.",
  temperature = 0, max_tokens = 8,
}
local text
for _ = 1, 2 do
  state.round = state.round + 1
  text = a("say state seen").text
end
return { n = state.round, text = text }
