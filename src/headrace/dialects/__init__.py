"""Dialects: the events of a run in other people's wire formats. `base` is the port, `get` finds one by name."""

from headrace.dialects.base import Dialect, Encoder, Info
from headrace.dialects.registry import DIALECTS, get

__all__ = ["DIALECTS", "Dialect", "Encoder", "Info", "get"]
