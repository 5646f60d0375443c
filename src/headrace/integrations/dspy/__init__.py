"""DSPy programs that stream (the extra `dspy`): `@headrace.instrument`, `trace`, `emit_event`, `set_context`.

    decorator ─► call (one run: spans, seq, sinks) ◄─ callbacks (what DSPy says it does)
                   ▲                                      │
                   └── predicting (fields of one predictor) ◄── internals (the LM's raw stream) ─► fields (pure)

DSPy's own streaming (`streamify` with listeners) is not used: it changes what a program does (a retry, a fallback
to another adapter are not made once a token was shown), and its listeners lose or leak text when a provider's pieces
are not cut as they expect. Here the LM is asked to stream *below* DSPy's retries, cache and adapters, which see one
whole answer as ever; what passes on the way is split into fields by our own machines. `ambient`, `call`, `fields`,
`parts` and `stopping` do not import DSPy. Next: `ambient`.
"""
