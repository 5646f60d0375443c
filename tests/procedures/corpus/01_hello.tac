-- Script mode: declared inputs with a default, a checked output, a template in a prompt.
-- inputs: {"topic": "rivers"}
-- expect: {"topic": "rivers", "times": 2, "said": "Rivers run."}
input { topic = field.string{required = true}, times = field.integer{default = 2} }
output { topic = field.string{required = true}, times = field.integer{}, said = field.string{} }
teller = Agent { system_prompt = "You tell of {input.topic}.", temperature = 0, max_tokens = 16 }
return { topic = input.topic, times = input.times, said = teller("say Rivers run.").text }
