from __future__ import annotations

import pytest

from headrace import errors, ledger
from headrace.testing import postgres


@pytest.mark.postgres
async def test_what_was_written_outlives_kill_9() -> None:
    try:
        made = postgres.Postgres()
    except errors.UsageError as error:
        pytest.skip(str(error))
    with made as server:
        url = server.store()
        assert url != server.store()
        for again in (False, True):
            store = ledger.open_ledger(url)
            await store.append("c", "note", "kept", {}, id=str(again))
            await store.close()
            server.kill()
            server.start()
        assert (await ledger.verify_ledger(url)).facts == 2
    assert not server.data.exists()


def test_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres.shutil, "which", lambda *given, **more: None)
    with pytest.raises(errors.UsageError, match="install PostgreSQL") as caught:
        postgres.Postgres()
    assert caught.value.code == "missing-extra"
