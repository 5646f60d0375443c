-- A tool in Lua that the model calls; what the program then knows of it.
-- expect: {"text": "The sum is 5.", "called": true, "count": 1, "last": 5, "args": {"a": 2, "b": 3}}
-- real: differs
add = Tool {
  description = "Adds two numbers.",
  input = { a = field.integer{required = true}, b = field.integer{required = true} },
  function(given) return given.a + given.b end,
}
helper = Agent { tools = { add }, temperature = 0, max_tokens = 60, max_turns = 3 }
local text = helper('call add {"a": 2, "b": 3} || say The sum is 5.').text
local last = add.last_call()
return {
  text = text, called = add.called(), count = add.call_count(), last = add.last_result(), args = last and last.arguments,
}
