from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from pathlib import Path

from headrace import ledger
from headrace.ledger import memory
from tests.ledger import conformance


class TestMemory(conformance.Ledger):
    def opened(self, tmp_path: Path) -> AbstractAsyncContextManager[ledger.Ledger]:
        return conformance.closing(memory.MemoryLedger())


class TestMemoryWithKey(conformance.Ledger):
    def opened(self, tmp_path: Path) -> AbstractAsyncContextManager[ledger.Ledger]:
        return conformance.closing(memory.MemoryLedger(key=b"secret"))
