-- An answer that does not fit is taken back and asked for again.
-- expect: {"score": 7}
judge = Agent {
  output = { score = field.integer{required = true, min = 1, max = 9} },
  temperature = 0, max_tokens = 40,
}
return { score = judge('json {"score": "7a"} || json {"score": 7}').output.score }
