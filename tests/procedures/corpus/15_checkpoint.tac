-- A checkpoint runs its function once, ever.
-- expect: {"value": {"n": 3, "said": "inside"}, "runs": 1}
a = Agent { temperature = 0, max_tokens = 8 }
local runs = 0
local value = Step.checkpoint("three", function()
  runs = runs + 1
  return { n = 3, said = a("say inside").text }
end)
return { value = value, runs = runs }
