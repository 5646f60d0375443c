from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from pathlib import Path

from tests.ledger import conformance

from headrace import ledger
from headrace.ledger import memory


class TestMemory(conformance.Ledger):
    def opened(self, tmp_path: Path) -> AbstractAsyncContextManager[ledger.Ledger]:
        return conformance.closing(memory.MemoryLedger())


class TestMemoryWithKey(conformance.Ledger):
    def opened(self, tmp_path: Path) -> AbstractAsyncContextManager[ledger.Ledger]:
        return conformance.closing(memory.MemoryLedger(key=b"secret"))
