"""Bridges to other people's libraries, each an extra of its own: `litellm` for models, `otel` for traces, `dspy`.

None of them is imported until it is used.
"""
