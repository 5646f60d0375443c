"""Headrace: the streaming layer for LLM applications."""
