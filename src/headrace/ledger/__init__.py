"""The ledger: for ever, append-only, hash-chained, complete facts only.

`base` is the port and `hashing` the pure core; `memory` and `sqlite` are the stores; `registry` opens one
by its URL. This front door loads no driver until a store is opened.
"""

from headrace.ledger.base import Conversation, Fact, Ledger, Problem, Report, RunRecord
from headrace.ledger.registry import open_ledger, verify_ledger

__all__ = [
    "Conversation",
    "Fact",
    "Ledger",
    "Problem",
    "Report",
    "RunRecord",
    "open_ledger",
    "verify_ledger",
]
