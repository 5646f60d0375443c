from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest
from tests.ledger import conformance

from headrace import ledger
from headrace.ledger import postgres as postgres_ledger
from headrace.testing.postgres import Postgres


class TestPostgres(conformance.Ledger):
    @pytest.fixture(autouse=True)
    def _server(self, postgres: Postgres) -> None:
        self.server = postgres

    def opened(self, tmp_path: Path) -> AbstractAsyncContextManager[ledger.Ledger]:
        return conformance.closing(postgres_ledger.PostgresLedger(self.server.store()))


class TestPostgresWithKey(TestPostgres):
    def opened(self, tmp_path: Path) -> AbstractAsyncContextManager[ledger.Ledger]:
        return conformance.closing(postgres_ledger.PostgresLedger(self.server.store(), key=b"secret"))
