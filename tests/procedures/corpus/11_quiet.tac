-- An agent that is asked without streaming: no piece comes, the whole does.
-- expect: "all at once"
quiet = Agent { disable_streaming = true, temperature = 0, max_tokens = 16 }
return quiet("say all at once").text
