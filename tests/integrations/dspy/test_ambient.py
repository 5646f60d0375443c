"""Context ids, configured sinks, and sinks that do not behave: what each costs the program. Needs no DSPy."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from typing import Any

import headrace
from headrace.core.events import HeadraceEvent
from headrace.integrations.dspy import ambient


async def test_ids_stay_in_their_task_and_thread() -> None:
    async def user(name: str) -> dict[str, Any]:
        headrace.set_context(user=name)
        await asyncio.sleep(0)
        with headrace.set_context(request=name * 2, user=None):
            assert dict(ambient.context()) == {"request": name * 2}
        return dict(await asyncio.to_thread(lambda: dict(ambient.context())))

    found = await asyncio.gather(*(user(f"u{n}") for n in range(50)))
    assert found == [{"user": f"u{n}"} for n in range(50)]
    assert dict(ambient.context()) == {}
    seen: list[Any] = []
    with headrace.set_context(user="outer"):
        thread = threading.Thread(target=lambda: seen.append(dict(ambient.context())))
        thread.start()
        thread.join()
    assert seen == [{}]


def test_configure_with_and_without_with(keep: Any) -> None:
    default = ambient.configured_sinks()
    with headrace.configure(sinks=[keep], event_filter=["mine"]):
        assert ambient.configured_sinks() == (keep,)
        headrace.emit_event(HeadraceEvent(event_type="mine", data={"n": 1}))
        headrace.emit_event(HeadraceEvent(event_type="other"))
        headrace.configure(event_filter=None)
        headrace.emit_event(HeadraceEvent(event_type="other"))
    assert [event.event_type for event in keep.events] == ["mine", "other"]
    assert ambient.configured_sinks() == default
    undo = headrace.configure(sinks=[])
    assert ambient.configured_sinks() == ()
    with undo:
        pass
    assert ambient.configured_sinks() == default


def test_what_a_sink_or_a_filter_raises_stays_there(keep: Any) -> None:
    class Bad:
        def emit(self, event: HeadraceEvent) -> None:
            raise RuntimeError("no")

    event = HeadraceEvent(event_type="x")
    ambient.deliver(event, [Bad(), keep])  # type: ignore[list-item]
    assert keep.events == [event]
    ambient.deliver(event, [keep], lambda event: 1 / 0 > 0)
    assert keep.events == [event]


def test_without_dspy_it_says_what_to_install() -> None:
    code = "import sys; sys.modules['dspy'] = None; import headrace; headrace.trace; headrace.instrument"
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False)
    assert "headrace.instrument needs the extra 'dspy': pip install 'headrace[dspy]'" in done.stderr
