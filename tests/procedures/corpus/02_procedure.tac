-- Procedure mode: the entry is a function that gets its inputs.
-- inputs: {"name": "Ada"}
-- expect: {"greeting": "Hello Ada", "answer": "Good day."}
greeter = Agent { temperature = 0, max_tokens = 16 }
Procedure {
  input = { name = field.string{required = true} },
  output = { greeting = field.string{required = true}, answer = field.string{required = true} },
  function(input)
    return { greeting = "Hello " .. input.name, answer = greeter("say Good day.").text }
  end,
}
