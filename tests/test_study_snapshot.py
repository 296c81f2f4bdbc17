"""The copy of the code that jobs run: tracked and untracked files, with and without git."""

import json
import subprocess
from pathlib import Path

import pytest

from fer.errors import CallerError
from fer.study import snapshot as module
from fer.study.snapshot import DIFF, RECORD, snapshot


def git(folder: Path, *words: str) -> None:
    subprocess.run(["git", "-C", str(folder), "-c", "user.name=t", "-c", "user.email=t@example.org",
                    *words], check=True, capture_output=True)


@pytest.fixture
def code(tmp_path: Path) -> Path:
    """A checkout with a committed, an untracked and two ignored files."""
    folder = tmp_path / "my code"
    (folder / "pkg").mkdir(parents=True)
    (folder / "pkg/a.py").write_text("1\n")
    (folder / ".gitignore").write_text("/runs/\n*.log\n")
    git(folder, "init", "-q")
    git(folder, "add", ".")
    git(folder, "commit", "-qm", "first")
    (folder / "pkg/new.py").write_text("2\n")
    (folder / "pkg/x.log").write_text("")
    (folder / "runs").mkdir()
    (folder / "runs/big").write_text("")
    return folder


def names(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


WANTED = {".gitignore", "pkg/a.py", "pkg/new.py"}


def test_tracked_and_untracked_files_are_copied_and_ignored_ones_are_not(
    code: Path, tmp_path: Path
) -> None:
    (code / "pkg/a.py").write_text("changed\n")
    copy = snapshot(code, tmp_path / "place")
    assert names(copy) == WANTED | {RECORD, DIFF}
    assert "+changed" in (copy / DIFF).read_text()
    state = json.loads((copy / RECORD).read_text())["git"]
    assert len(state["commit"]) == 40 and state["dirty"] is True


def test_without_git_the_lines_of_gitignore_are_followed(code: Path, tmp_path: Path) -> None:
    subprocess.run(["rm", "-rf", str(code / ".git")], check=True)
    copy = snapshot(code, tmp_path / "place")
    assert names(copy) == WANTED | {RECORD}
    assert json.loads((copy / RECORD).read_text())["git"]["commit"] is None


def test_the_same_code_is_copied_once_and_an_edit_makes_another_copy(
    code: Path, tmp_path: Path
) -> None:
    first = snapshot(code, tmp_path / "place")
    assert snapshot(code, tmp_path / "place") == first
    (code / "pkg/a.py").write_text("edited\n")
    assert snapshot(code, tmp_path / "place") != first
    assert (first / "pkg/a.py").read_text() == "1\n"


def test_a_snapshot_of_a_snapshot_is_the_same_code(code: Path, tmp_path: Path) -> None:
    (code / "pkg/a.py").write_text("changed\n")
    first = snapshot(code, tmp_path / "place")
    second = snapshot(first, tmp_path / "other")
    assert second.name == first.name and names(second) == names(first)
    assert (second / RECORD).read_text() == (first / RECORD).read_text()


def test_data_that_nobody_ignored_are_refused_with_the_largest_file(
    code: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (code / "pixels.bin").write_bytes(b"x" * 5000)
    monkeypatch.setattr(module, "MOST_BYTES", 4000)
    with pytest.raises(CallerError, match=r"pixels\.bin; name data in \.gitignore"):
        snapshot(code, tmp_path / "place")
