"""Bridges to other people's libraries, each an extra of its own: `litellm` for models, `otel` for
traces, `mcp` for tools, `dspy` for its programs; and `toolbox`, tools by reference.

None of them is imported until it is used.
"""
