"""`headrace procedure`: a program run, checked and gone on with from the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

STORY = """
input { topic = field.string{required = true}, times = field.integer{default = 1} }
teller = Agent { model = "demo", system_prompt = "About {input.topic}" }
local text = teller("Tell").text
return { topic = input.topic, times = input.times, said = #text > 0 }
"""


def test_run_streams_and_ends_with_the_result(headrace: Any, tmp_path: Path) -> None:
    file = tmp_path / "story.tac"
    file.write_text(STORY)
    done = headrace("procedure", "run", str(file), "--param", "topic=sea", "--param", "times=3")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == {"topic": "sea", "times": 3, "said": True}
    assert "teller:" in done.stderr
    assert "[teller: " in done.stderr


def test_json_has_the_events(headrace: Any, tmp_path: Path) -> None:
    file = tmp_path / "story.tac"
    file.write_text(STORY)
    done = headrace("procedure", "run", str(file), "--param", "topic=sea", "--json")
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert (found[0]["type"], found[-1]["type"]) == ("run-start", "run-end")
    assert found[-1]["result"]["topic"] == "sea"


def test_wrong_inputs_and_wrong_programs(headrace: Any, tmp_path: Path) -> None:
    file = tmp_path / "story.tac"
    file.write_text(STORY)
    done = headrace("procedure", "run", str(file))
    assert done.returncode == 2
    assert "input.topic is missing" in done.stderr
    done = headrace("procedure", "run", str(file), "--param", "topic=sea", "--param", "times=many")
    assert "input.times must be an integer" in done.stderr
    file.write_text("local x = nil\nreturn x.y")
    done = headrace("procedure", "run", str(file))
    assert done.returncode == 1
    assert "story.tac:2: attempt to index a nil value" in done.stderr


def test_check_calls_no_model(headrace: Any, tmp_path: Path) -> None:
    file = tmp_path / "story.tac"
    file.write_text(STORY)
    done = headrace("procedure", "check", str(file))
    assert (done.returncode, done.stdout) == (0, f"{file}: fine\n")
    file.write_text('a = Agent {}\nb = Agent { modle = "x" }\n')
    done = headrace("procedure", "check", str(file))
    assert done.returncode == 1
    assert "story.tac:2: agent b" in done.stderr
    assert "modle" in done.stderr
    file.write_text("x = = 1")
    assert "story.tac:1: unexpected symbol" in headrace("procedure", "check", str(file)).stderr


def test_a_failed_run_is_gone_on_with(headrace: Any, tmp_path: Path) -> None:
    file, store = tmp_path / "two.tac", f"sqlite:///{tmp_path / 'runs.db'}"
    file.write_text('a = Agent { model = "demo" }\nlocal x = a("one").text\nerror("stop")')
    done = headrace("procedure", "run", str(file), "--store", store)
    assert done.returncode == 1
    run = next(line.split()[1] for line in done.stderr.splitlines() if line.startswith("run run_"))
    file.write_text('a = Agent { model = "demo" }\nlocal x = a("one").text\nreturn #x > 0')
    done = headrace("procedure", "run", str(file), "--store", store, "--resume", run)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "true"


def test_the_programs_own_tests(headrace: Any, tmp_path: Path) -> None:
    file = tmp_path / "t.tac"
    text = 'a = Agent {}\nMocks { a = "Hello you" }\n'
    text += 'Specification([[\nScenario: x\nThen the result is "Hello you"\n]])'
    file.write_text(f'{text}\nreturn a("x").text')
    done = headrace("procedure", "test", str(file))
    assert (done.returncode, done.stdout) == (0, "passed  x\n"), done.stderr
    file.write_text(f"{text}\nreturn 1")
    done = headrace("procedure", "test", str(file))
    assert done.returncode == 1
    assert "failed  x" in done.stdout
