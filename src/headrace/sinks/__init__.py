"""Sinks: events out of a program, to a terminal, a file, a broker or a browser. `base` is the port."""

from __future__ import annotations

from headrace.sinks.base import BaseSink, SinkFull
from headrace.sinks.terminal import TerminalSink

__all__ = ["BaseSink", "SinkFull", "TerminalSink"]
