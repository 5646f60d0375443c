-- An agent's three spellings, and a model named in three ways.
-- expect: ["one", "two", "three"]
first = Agent { temperature = 0, max_tokens = 16 }
Agent "second" { temperature = 0, max_tokens = 16 }
agent("third", { temperature = 0, max_tokens = 16 })
return { first("say one").text, second({message = "say two"}).response, third("say three").value }
