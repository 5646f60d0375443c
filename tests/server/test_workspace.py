"""The workspace: what is in it, what leads out of it, and that nobody's change is lost."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from headrace import errors, settings
from headrace.server import workspace
from headrace.server.workspace import Missing, Refused, Stale, Workspace


@pytest.fixture
def files(tmp_path: Path) -> Workspace:
    root = tmp_path / "root"
    (root / "sub").mkdir(parents=True)
    (root / "story.tac").write_text("return 1\n")
    (root / "sub/b.md").write_text("# b\n")
    (root / ".env").write_text("KEY=1")
    (root / "headrace.toml").write_text("")
    (root / "node_modules").mkdir()
    (tmp_path / "outside.txt").write_text("secret")
    (tmp_path / "out").mkdir()
    (root / "link.txt").symlink_to(tmp_path / "outside.txt")
    (root / "way").symlink_to(tmp_path / "out")
    return Workspace(root)


def test_the_tree(files: Workspace) -> None:
    entries, more = files.tree()
    assert [(entry.path, entry.kind) for entry in entries] == [
        ("sub", "folder"),
        ("sub/b.md", "file"),
        ("story.tac", "file"),
    ]
    assert entries[2].size == 9
    assert not more


def test_a_tree_has_a_bound(files: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workspace, "MAX_ENTRIES", 2)
    entries, more = files.tree()
    assert len(entries) == 2
    assert more


@pytest.mark.parametrize(
    "path",
    ["", "/etc/passwd", "../outside.txt", "sub/../../outside.txt", "./story.tac", "sub//b.md", "a\0b", "a\\b",
     ".env", "headrace.toml", "sub/.git/config", "link.txt", "way/x.txt", "sub", "/".join("a" * 20), "\ud800.md"],
)  # fmt: skip
def test_what_leads_out_or_nowhere(files: Workspace, path: str) -> None:
    with pytest.raises(Refused):
        files.read(path)
    with pytest.raises(Refused):
        files.write(path, "x", known=None)
    assert not (files.root.parent / "out/x.txt").exists()


def test_write_makes_and_replaces_and_loses_nobodys_change(files: Workspace) -> None:
    made = files.write("new/deep/a.tac", "one", known=None)
    assert files.read("new/deep/a.tac") == made
    with pytest.raises(Stale, match="there already") as found:
        files.write("new/deep/a.tac", "two", known=None)
    assert found.value.details["etag"] == made.etag
    second = files.write("new/deep/a.tac", "two", known=made.etag)
    with pytest.raises(Stale, match="has changed"):
        files.write("new/deep/a.tac", "three", known=made.etag)
    assert files.read("new/deep/a.tac").content == "two"
    assert second.etag != made.etag
    with pytest.raises(Stale):
        files.write("gone.tac", "x", known=made.etag)
    assert os.listdir(files.root / "new/deep") == ["a.tac"]


def test_only_texts_are_written_and_read(files: Workspace) -> None:
    with pytest.raises(Refused, match="must end in"):
        files.write("conftest.py", "x", known=None)
    (files.root / "bytes.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(Refused, match="UTF-8"):
        files.read("bytes.txt")
    with pytest.raises(Missing):
        files.read("none.tac")
    big = "x" * (workspace.MAX_FILE_BYTES + 1)
    with pytest.raises(errors.UsageError) as found:
        files.write("big.txt", big, known=None)
    assert found.value.code == "too-large"
    (files.root / "big.txt").write_text(big)
    with pytest.raises(errors.UsageError) as found:
        files.read("big.txt")
    assert found.value.code == "too-large"
    os.mkfifo(files.root / "pipe.txt")
    with pytest.raises(Refused, match="no file"):
        files.read("pipe.txt")


def test_which_folder_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    unset = settings.Settings()
    assert workspace.root_of(unset, "127.0.0.1") == tmp_path
    assert workspace.root_of(unset, "0.0.0.0") is None
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    assert workspace.root_of(unset, "127.0.0.1") is None
    named = settings.Settings(workspace=str(tmp_path))
    assert workspace.root_of(named, "0.0.0.0") == tmp_path
    assert workspace.root_of(settings.Settings(workspace="none"), "127.0.0.1") is None
    with pytest.raises(errors.UsageError, match="no folder"):
        workspace.root_of(settings.Settings(workspace=str(tmp_path / "x")), "127.0.0.1")
