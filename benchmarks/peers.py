"""What others take for the same work: the OpenAI SDK, LiteLLM, the LiteLLM proxy; each in an environment of its own.

The environments are made under `.venv-bench` when first needed (a minute) and never touch the project's own.
A peer that cannot be installed is reported as missing; nothing stands in for it. `--quick` takes only what is
there. The `tokens` rows call them through `consume`, the `server` rows run the proxy. Next: `tokens`.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from benchmarks import measure, serving

FOLDER = measure.ROOT / ".venv-bench"
NEEDS = {
    "openai": ["openai"],
    "litellm": ["litellm[proxy]>=1.83.7"],
    "pydantic-ai": ["pydantic-ai-slim[openai]"],
    "instructor": ["instructor"],
    "json": ["jiter", "pydantic_core", "partial-json-parser", "jsonriver", "ijson", "json-stream"],
}
# What LiteLLM's proxy took on a machine like the one of docs/performance.md; used, and marked, where it cannot run.
RECORDED_PROXY_US = 463.0


class MissingPeer(Exception):
    """The peer is not here; the text says why."""


def python(name: str, *, install: bool) -> str:
    """The interpreter of a peer's environment, which is made when it is not there.

    Raises:
        MissingPeer: it is not there, and is not to be or cannot be made.
    """
    folder = FOLDER / name
    found, stamp = folder / "bin" / "python", folder / ".complete"
    if stamp.exists():
        return str(found)
    if not install:
        raise MissingPeer("not installed; a full run installs it")
    print(f"  installing {', '.join(NEEDS[name])} into {folder.relative_to(measure.ROOT)}", file=sys.stderr)
    for command in (
        [sys.executable, "-m", "venv", "--clear", str(folder)],
        [str(found), "-m", "pip", "install", "--quiet", *NEEDS[name]],
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise MissingPeer((done.stderr.strip().splitlines() or ["no reason given"])[-1])
    stamp.touch()
    return str(found)


def version(interpreter: str, package: str) -> str:
    """The version of a package in a peer's environment."""
    program = f"from importlib.metadata import version; print(version({package!r}))"
    return subprocess.run(
        [interpreter, "-c", program], capture_output=True, text=True, check=True
    ).stdout.strip()


@contextlib.contextmanager
def proxy(upstream: str, *, install: bool) -> Iterator[tuple[str, int]]:
    """The LiteLLM proxy in front of `upstream`, with the settings its documentation gives for production.

    Its models are those of `serving.PATHS`.

    Yields:
        Its base URL (with `/v1`) and its process id.

    Raises:
        MissingPeer: it cannot be installed or does not come up.
    """
    interpreter = python("litellm", install=install)
    models = [
        {
            "model_name": name,
            "litellm_params": {
                "model": "openai/gpt-5-mini",
                "api_base": f"{upstream}/{path}",
                "api_key": "none",
            },
        }
        for name, path in serving.PATHS.items()
    ]
    with tempfile.TemporaryDirectory() as folder, socket.socket() as probe:
        config = Path(folder) / "config.yaml"
        general = {"dangerously_permit_weak_or_unset_master_key": True}  # it listens on loopback only
        config.write_text(json.dumps({"model_list": models, "general_settings": general}))
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        probe.close()
        log = open(Path(folder) / "log", "wb")  # noqa: SIM115 (closed below)
        process = subprocess.Popen(
            [str(Path(interpreter).with_name("litellm")), "--config", str(config), "--host", "127.0.0.1",
             "--port", str(port), "--num_workers", "1"],
            stdout=log, stderr=log, cwd=folder,
            env={**measure.environment(), "LITELLM_LOG": "ERROR", "LITELLM_MODE": "PRODUCTION",
                 "LITELLM_LOCAL_MODEL_COST_MAP": "True", "PATH": os.environ.get("PATH", "")},
        )  # fmt: skip
        try:
            _await(f"http://127.0.0.1:{port}/health/liveliness", process, Path(folder) / "log")
            yield f"http://127.0.0.1:{port}/v1", process.pid
        finally:
            process.terminate()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            log.close()


def _await(url: str, process: subprocess.Popen[bytes], log: Path, seconds: float = 60.0) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until and process.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=2):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    last = log.read_text(errors="replace").strip().splitlines()[-1:] or ["no output"]
    raise MissingPeer(f"the proxy did not come up: {last[0]}")
