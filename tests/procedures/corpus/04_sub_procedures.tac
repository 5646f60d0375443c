-- Named procedures are called like functions; their inputs and outputs are checked.
-- expect: {"twice": 8, "refused": true, "said": "from inside"}
inner = Agent { temperature = 0, max_tokens = 16 }
double = Procedure {
  input = { n = field.integer{required = true} },
  output = { n = field.integer{required = true} },
  function(input) return { n = input.n * 2 } end,
}
speak = Procedure { function() return { said = inner("say from inside").text } end }
local fine, why = pcall(double, { n = "x" })
return {
  twice = double({ n = double({ n = 2 }).n }).n,
  refused = not fine and why:find("input.n", 1, true) ~= nil,
  said = speak({}).said,
}
