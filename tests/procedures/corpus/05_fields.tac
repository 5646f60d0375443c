-- Every kind of field with every option.
-- inputs: {"word": "mill", "share": 0.5, "count": 3, "sure": false, "tags": ["a", "b"], "who": {"name": "Ada", "langs": [{"code": "en"}]}}
-- expect: {"word": "mill", "share": 0.5, "count": 3, "sure": false, "tags": 2, "code": "en", "tone": "warm", "free": 1}
input {
  word = field.string{required = true, min = 2, max = 8, pattern = "[a-z]+", description = "A word"},
  tone = field.string{enum = {"dry", "warm"}, default = "warm"},
  share = field.number{min = 0, max = 1},
  count = field.integer{min = 1, max = 9},
  sure = field.boolean{default = true},
  tags = field.array{items = field.string{min = 1}, max = 3},
  who = field.object{properties = {
    name = field.string{required = true},
    langs = field.array{items = field.object{properties = { code = field.string{pattern = "[a-z][a-z]"} }}},
  }},
  free = field.object{default = { n = 1 }},
}
return {
  word = input.word, tone = input.tone, share = input.share, count = input.count, sure = input.sure,
  tags = #input.tags, code = input.who.langs[1].code, free = input.free.n,
}
