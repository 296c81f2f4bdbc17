"""The copy of the code that jobs run: tracked and untracked files, with and without git."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from fer.errors import CallerError
from fer.study import snapshot as module
from fer.study.snapshot import (
    DIFF,
    IMPORTED,
    RECORD,
    code_files,
    git_state,
    snapshot,
    snapshot_folder,
)


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
    """Files of a copy; what is beside them on `sys.path` of jobs is looked at in its own test."""
    return {name for path in folder.rglob("*") if path.is_file()
            and not (name := str(path.relative_to(folder))).startswith(IMPORTED)}


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
    with pytest.raises(CallerError, match=r"pixels\.bin; add data to \.gitignore"):
        snapshot(code, tmp_path / "place")


IGNORED = {
    "anchored": ("/data/\n", {"fer/data/a.py", "data.py"}, {"data/b"}),
    "any folder": ("data/\n", {"data.py", "fer/x/data"}, {"fer/data/a.py", "data/b"}),
    "a file or a folder": ("data\n", set(), {"fer/data/a.py", "data/b", "fer/x/data"}),
    "back again": ("*.bin\n!keep.bin\n", {"fer/keep.bin"}, {"fer/c.bin"}),
    "all but code": ("/*\n!/fer/\n!.gitignore\n*.bin\n", {"fer/data/a.py"}, {"data/b", "data.py"}),
    "in the middle": ("fer/**/b.tmp\n", {"b.tmp"}, {"fer/b.tmp", "fer/x/y/b.tmp"}),
    "windows and a mark": (
        "\ufeff/data/\r\n*.bin \r\n", {"fer/data/a.py"}, {"data/b", "fer/c.bin"}),
    "another writing": ("# /fer/\n\\#a\n/DATA/\n", {"data/b", "fer/data/a.py"}, {"#a"}),
}


@pytest.mark.parametrize("how", IGNORED)
def test_gitignore_means_without_git_what_it_means_to_git(how: str, tmp_path: Path) -> None:
    text, kept, left = IGNORED[how]
    for name in ("fer/data/a.py", "data/b", "data.py", "fer/x/data", "fer/c.bin", "fer/keep.bin",
                 "b.tmp", "fer/b.tmp", "fer/x/y/b.tmp", "#a", "fer/x/y/z.log", "fer/x/no.log"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    (tmp_path / ".gitignore").write_bytes(text.encode())
    (tmp_path / "fer/x/.gitignore").write_text("*.log\n!y/z.log\n")  # of a folder
    found = code_files(tmp_path)
    assert kept <= set(found) and not left & set(found)
    assert "fer/x/y/z.log" in found and "fer/x/no.log" not in found
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".gitignore", *(["-f"] if how == "all but code" else []))
    assert code_files(tmp_path) == found


def test_git_that_refuses_to_answer_is_no_loss(
    code: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (code / "pkg/runs").mkdir()
    (code / "pkg/runs/c.py").write_text("3\n")  # `/runs/` is another folder
    with_git = code_files(code)
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")  # git's own switch for its tests
    with pytest.raises(subprocess.CalledProcessError):
        module._git(code, "status")
    assert code_files(code) == with_git and "pkg/runs/c.py" in with_git
    assert git_state(code) == {"commit": None, "dirty": None}


def test_a_repository_around_the_code_has_no_say_in_it(
    code: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (code.parent / ".gitignore").write_text("*\n")
    git(code.parent, "init", "-q")
    shutil.rmtree(code / ".git")
    assert set(code_files(code)) == WANTED
    assert git_state(code)["commit"] is None


def test_a_hook_of_another_repository_changes_nothing(
    code: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "other").mkdir()
    git(tmp_path / "other", "init", "-q")
    before = code_files(code), git_state(code)
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "other/.git"))
    assert (code_files(code), git_state(code)) == before


@pytest.mark.parametrize("damage", ["edited", "missing", "added", "linked", "no record", "empty",
                                    "a file"])
def test_a_folder_of_that_name_with_other_content_is_never_used(
    damage: str, code: Path, tmp_path: Path
) -> None:
    first = snapshot(code, tmp_path / "place")
    if damage == "edited":
        (first / "pkg/a.py").write_text("9\n")
    elif damage == "missing":
        (first / "pkg/a.py").unlink()
    elif damage == "added":
        (first / "pkg/torch.py").write_text("")
    elif damage == "linked":
        (first / "pkg/a.py").unlink()
        (first / "pkg/a.py").symlink_to(code / "pkg/a.py")
    elif damage == "no record":
        (first / RECORD).unlink()
    else:
        shutil.rmtree(first)
        first.mkdir() if damage == "empty" else first.write_text("")
    planned = snapshot_folder(code, tmp_path / "place")
    second = snapshot(code, tmp_path / "place")
    assert second != first and second == planned == snapshot(code, tmp_path / "place")
    assert (second / "pkg/a.py").read_text() == "1\n" and names(second) == WANTED | {RECORD, DIFF}


def test_what_python_kept_of_a_snapshot_is_not_trusted(code: Path, tmp_path: Path) -> None:
    first = snapshot(code, tmp_path / "place")
    (first / "pkg/__pycache__").mkdir()
    (first / "pkg/__pycache__/a.cpython-311.pyc").write_text("anything")
    assert snapshot(code, tmp_path / "place") == first
    assert not (first / "pkg/__pycache__").exists()


def test_code_that_is_edited_while_it_is_copied_is_copied_again(
    code: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = module._copy

    def edited(repository: Path, files: list[str], building: Path) -> None:
        monkeypatch.setattr(module, "_copy", copy)
        (code / "pkg/a.py").write_text("edited\n")
        copy(repository, files, building)

    monkeypatch.setattr(module, "_copy", edited)
    folder = snapshot(code, tmp_path / "place")
    assert (folder / "pkg/a.py").read_text() == "edited\n"
    assert snapshot_folder(code, tmp_path / "place") == folder


def test_a_link_to_a_file_is_copied_as_what_it_points_at(code: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("4\n")
    (code / "pkg/mine.py").symlink_to(tmp_path / "mine.py")
    copy = snapshot(code, tmp_path / "place")
    assert not (copy / "pkg/mine.py").is_symlink() and (copy / "pkg/mine.py").read_text() == "4\n"


def test_jobs_have_nothing_but_fer_on_their_path(tmp_path: Path) -> None:
    for name in ("fer/__init__.py", "torch.py"):
        (tmp_path / "code" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "code" / name).write_text("")
    folder = snapshot(tmp_path / "code", tmp_path / "place") / IMPORTED
    assert os.listdir(folder) == ["fer"] and (folder / "fer/__init__.py").is_file()


@pytest.mark.parametrize(("file", "dirty"), [
    ("sweeps/mine.yaml", False), ("configs/mine.yaml", False), ("slurm/profiles/x.yaml", False),
    ("pkg/a.py", True), ("pkg/untracked.py", True), ("sweeps.py", True)])
def test_only_a_change_of_the_code_is_an_uncommitted_one(
    file: str, dirty: bool, code: Path
) -> None:
    git(code, "add", ".")
    git(code, "commit", "-qm", "second")
    assert git_state(code)["dirty"] is False
    (code / file).parent.mkdir(parents=True, exist_ok=True)
    (code / file).write_text("changed: 1\n")
    assert git_state(code)["dirty"] is dirty


def test_file_names_that_are_no_text_are_copied(code: Path, tmp_path: Path) -> None:
    with open(os.fsencode(code / "pkg") + b"/\xff.py", "w"):
        pass
    copy = snapshot(code, tmp_path / "place")
    assert b"\xff.py" in os.listdir(os.fsencode(copy / "pkg"))


def test_a_package_that_an_outer_repository_ignores_is_refused(tmp_path: Path) -> None:
    """A tarball that was unpacked, and partly added, inside another repository."""
    code = tmp_path / "outer/code"
    for name in ("fer/__init__.py", "fer/data/__init__.py", "fer/data/pack.py"):
        (code / name).parent.mkdir(parents=True, exist_ok=True)
        (code / name).write_text("")
    (tmp_path / "outer/.gitignore").write_text("data/\n")
    for command in (("init", "--quiet"), ("add", ".")):
        subprocess.run(["git", "-C", tmp_path / "outer", *command], check=True)
    with pytest.raises(CallerError, match=r"does not list fer/data/__init__\.py"):
        snapshot(code, tmp_path / "copies")
