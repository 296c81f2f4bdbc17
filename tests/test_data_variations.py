"""Layouts as they lie on people's disks: other cases, line ends, links, and names without UTF-8."""

import os
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import CLASSES, launch
from picture_sets import smooth, write_set
from test_known_sets import (
    EXPRESSIONS,
    affectnet_arrays,
    affectnet_lists,
    ckplus,
    expression_of,
    hugging_face,
    hugging_face_lines,
    rafdb_list,
)
from test_mistakes import said_in_one_line

from fer.data.file_walk import all_files, visible_files
from fer.data.ingest.add import AddRequest, add
from fer.errors import CallerError

NO_TEXT = os.fsdecode(b"caf\xe9_0001.jpg")


def right_and_all(source: Path, data: Path, labels: str = "") -> tuple[int, int]:
    """Add a source with the pictures of `test_known_sets`; count those in their class, and all."""
    add(AddRequest(source, "X", labels=labels), data)
    found = list((data / "X").glob("*/*/*"))
    return sum(path.parent.name == EXPRESSIONS[expression_of(path)] for path in found), len(found)


@pytest.mark.parametrize("write", [rafdb_list, affectnet_arrays, affectnet_lists, ckplus])
def test_a_layout_in_capitals_comes_in_right(tmp_path: Path, write: Callable[[Path], None]) -> None:
    write(tmp_path / "s")
    for place, folders, files in os.walk(tmp_path / "s", topdown=False):
        for name in (*folders, *files):
            os.rename(Path(place) / name, Path(place) / name.upper())
    assert right_and_all(tmp_path / "s", tmp_path / "data") == (8, 8)


@pytest.mark.parametrize(("write", "labels"), [
    (rafdb_list, ""), (affectnet_lists, ""), (ckplus, ""), (hugging_face, "fer7"),
    (hugging_face_lines, "fer7")])
def test_windows_line_ends_a_mark_and_blank_lines_change_nothing(
    tmp_path: Path, write: Callable[[Path], None], labels: str
) -> None:
    write(tmp_path / "s")
    texts = [path for path in all_files(tmp_path / "s")
             if path.suffix in (".txt", ".csv", ".jsonl")]
    assert texts
    for path in texts:
        text = (tmp_path / "s" / path).read_text()
        (tmp_path / "s" / path).write_text("\ufeff" + text + "\n", newline="\r\n")
    assert right_and_all(tmp_path / "s", tmp_path / "data", labels) == (8, 8)


def test_own_class_folders_beside_a_list_are_not_left_out_in_silence(tmp_path: Path) -> None:
    rafdb_list(tmp_path / "s")
    write_set(tmp_path / "s/mine", {"train": 2})
    with pytest.raises(CallerError, match=r"6 of 14 .*without a label in list_patition_label\.txt"):
        add(AddRequest(tmp_path / "s", "X"), tmp_path / "data")
    assert not (tmp_path / "data/X").exists()


@pytest.mark.parametrize(("write", "file"), [
    (affectnet_lists, "Manually_Annotated_Images/0/000000.jpg"),
    (affectnet_arrays, "train_set/images/0.jpg"),
    (ckplus, "cohn-kanade-images/S005/001/S005_001_00000012.png")])
def test_a_label_that_can_mean_two_pictures_is_refused(
    tmp_path: Path, write: Callable[[Path], None], file: str
) -> None:
    write(tmp_path / "s")
    first = tmp_path / "s" / file
    other = (tmp_path / "s/Automatically_annotated_Images/0" / first.name
             if write is affectnet_lists else first.with_suffix(".jpeg"))
    other.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(first, other)
    with pytest.raises(CallerError, match="2 pictures, such as") as caught:
        add(AddRequest(tmp_path / "s", "X"), tmp_path / "data")
    assert "\n" not in str(caught.value) and not (tmp_path / "data/X").exists()


def test_names_that_are_not_utf8_are_left_out_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_set(tmp_path / "s", {"train": 5})
    picture = tmp_path / "s/train/neutral" / NO_TEXT
    smooth(99, 24).save(picture)
    monkeypatch.setenv("FER_DATA", str(tmp_path / "data"))
    done = launch("data", "add", tmp_path / "s", "--as", "X")
    assert done.returncode == 0, done.stderr
    assert "15 of 16 files taken; left out: 1 with names that are not UTF-8" in done.stdout
    assert r"caf\xe9_0001.jpg" in done.stdout
    shutil.copy(picture, tmp_path / "data/X/train/neutral")
    for command in ("list", "verify"):  # a set in place
        said_in_one_line(launch("data", command, "X"), r"caf\xe9_0001.jpg is not UTF-8", "rename")


def test_a_loop_of_links_ends_and_a_folder_is_walked_once(tmp_path: Path) -> None:
    write_set(tmp_path / "s", {"train": 1})
    (tmp_path / "s/train/neutral/up").symlink_to("..")
    (tmp_path / "s/loop").symlink_to(tmp_path / "s")
    (tmp_path / "s/.hidden").mkdir()
    (tmp_path / "s/.hidden/a.jpg").write_bytes(b"x")
    found = list(all_files(tmp_path / "s"))
    assert len(found) == len(set(found)) == 4
    assert len(list(visible_files(tmp_path / "s", follow=True))) == 3
    assert add(AddRequest(tmp_path / "s", "X"), tmp_path / "data")[0].startswith("s: 3 of 4 files")


def test_a_zip_whose_folders_are_nested_comes_in(tmp_path: Path) -> None:
    write_set(tmp_path / "s", {"train": 2})
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        for path in all_files(tmp_path / "s"):
            file.write(tmp_path / "s" / path, f"SET/SET/{path}")
            file.writestr(f"__MACOSX/SET/SET/._{path.name}", b"x")
    lines = add(AddRequest(tmp_path / "a.zip", "X"), tmp_path / "data")
    assert "6 of 12 files taken; left out: 6 hidden or system files" in " ".join(lines)
    assert {path.name for path in (tmp_path / "data/X/train").iterdir() if path.is_dir()
            } == set(CLASSES)
