-- A program that fails, says where.
-- expect-error: 21_fails.tac:6: no luck
a = Agent { temperature = 0, max_tokens = 8 }
local said = a("say before it").text
local function deep()
  error("no luck")
end
deep()
return said
