"""What a structured answer must look like: types and schemas, growing values, early rejection, words for the model.

Pure: text in, events and values out. `shape` says what is wanted and checks what came; `reader` is what the run
engine feeds; `partial`, `watch` and `prefixes` are its parts; `portable` fits a schema to a provider; `instruct` has
the words for models without schemas. Nothing here knows an engine, a provider's wire or a socket. Next: `shape`.
"""
