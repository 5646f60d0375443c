"""The run log: every event of one run, numbered without a gap, read by followers with cursors."""

from headrace.runlog.base import Entry, Follower, Log, RunLog
from headrace.runlog.memory import MemoryRunLog

__all__ = ["Entry", "Follower", "Log", "MemoryRunLog", "RunLog"]
