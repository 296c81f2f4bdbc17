"""A set that has grown: update, remove, and why its runs are trained again."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import CLASSES, TOY, launch, write_toy_set
from picture_sets import smooth, write_set
from test_mistakes import said_in_one_line

from fer.data.ingest.add import AddRequest, add
from fer.data.ingest.update import remove, update
from fer.data.layout import scan
from fer.data.metadata import read_people
from fer.errors import CallerError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A data root with the set S, added from `source`, with train and test."""
    write_set(tmp_path / "source", {"train": 4, "test": 2})
    add(AddRequest(tmp_path / "source", "S"), tmp_path / "data")
    return tmp_path / "data"


def test_an_update_takes_what_is_new_gone_and_changed(root: Path, tmp_path: Path) -> None:
    place = tmp_path / "source/train/neutral"
    first, second, *_ = sorted(place.iterdir())
    first.unlink()
    smooth(999).save(second)
    for number in range(3):
        smooth(500 + number).save(place / f"New_Person_{number:04}.jpg")
    said = update(AddRequest(tmp_path / "source", "S"), root)
    assert "S/train: 14 pictures: 3 new, 1 gone, 1 changed" in said
    assert "S/test: 6 pictures: 0 new, 0 gone, 0 changed" in said
    assert sorted(p.path.name for p in scan("s", root / "S", CLASSES)["train"]) == sorted(
        path.name for path in (tmp_path / "source/train").rglob("*.jpg"))
    assert [path.name for path in root.iterdir() if "update" in path.name
            and not path.name.endswith(".lock")] == []


def test_an_update_of_one_split_leaves_the_other_and_changes_people(
    root: Path, tmp_path: Path
) -> None:
    before = [p.path.stat().st_mtime_ns for p in scan("s", root / "S", CLASSES)["train"]]
    shutil.rmtree(tmp_path / "source/train")
    said = update(AddRequest(tmp_path / "source", "S", people=r"(P\d)"), root)
    assert any("S/test: 6 pictures" in line and "6 with other people" in line for line in said)
    found = scan("s", root / "S", CLASSES)
    assert {p.identity for p in found["test"]} == {"P0"}
    assert [p.path.stat().st_mtime_ns for p in found["train"]] == before
    assert read_people(root / "S") == {"train": "names", "test": "table"}


def test_an_update_that_fails_changes_nothing(root: Path, tmp_path: Path) -> None:
    (tmp_path / "source/train/neutral").rename(tmp_path / "source/train/other")
    before = sorted((root / "S").rglob("*"))
    for request, words in ((AddRequest(tmp_path / "source", "S"), "'other' is not in"),
                           (AddRequest(tmp_path / "source", "T"), "no data set"),
                           (AddRequest(tmp_path / "source"), "--as NAME")):
        with pytest.raises(CallerError, match=words):
            update(request, root)
    assert sorted((root / "S").rglob("*")) == before


def test_what_was_not_added_is_not_changed(root: Path, tmp_path: Path) -> None:
    write_set(root / "HAND", {"train": 2})
    with pytest.raises(CallerError, match="was not added by this project"):
        update(AddRequest(tmp_path / "source", "HAND"), root)
    with pytest.raises(CallerError, match="was not added by this project"):
        remove("HAND", root, sure=True)
    assert (root / "HAND/train").is_dir()


def test_a_split_or_a_set_is_removed_when_told_twice(root: Path, tmp_path: Path) -> None:
    with pytest.raises(CallerError, match=r"would remove S/test: 6 pictures in .*--yes"):
        remove("S/test", root, sure=False)
    assert remove("S/test", root, sure=True) == ["S/test: 6 pictures removed"]
    assert sorted(scan("s", root / "S", CLASSES)) == ["train"]
    assert read_people(root / "S") == {"train": "names"}
    for name in ("S/test", "T", "S/eval", "test"):
        with pytest.raises(CallerError, match=f"no data set or split '{name}'"):
            remove(name, root, sure=True)
    for name in ("..", "/tmp", "."):
        with pytest.raises(CallerError, match="below FER_DATA"):
            remove(name, root, sure=True)
    assert remove("S", root, sure=True) == ["S/train: 12 pictures removed"]
    assert not (root / "S").exists()


def test_removing_links_keeps_the_pictures(root: Path, tmp_path: Path) -> None:
    add(AddRequest(tmp_path / "source", "L", link=True), root)
    remove("L", root, sure=True)
    assert len(list((tmp_path / "source").rglob("*.jpg"))) == 18


def test_a_dry_run_says_why_a_finished_run_would_be_trained_again(
    places: Path, tmp_path: Path, toy_study: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tmp_path / "own"
    write_toy_set(data / "LFW-FER", "train", people=12)
    write_toy_set(data / "LFW-FER", "eval", people=4, first=50)
    monkeypatch.setenv("FER_DATA", str(data))
    study = toy_study({"seed": [0]}, evaluate_on=["lfw/eval"], gap=None,
                      set={**TOY, "train.epochs": 1, "keep.tensorboard": False})
    done = launch("sweep", study, "--cluster", "local")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "is finished, but" not in launch("sweep", study, "--dry-run").stdout
    write_toy_set(data / "LFW-FER", "train", people=9, first=12)
    said = launch("sweep", study, "--dry-run").stdout
    assert "is finished, but lfw/train: " in said and "pictures more" in said
    said_in_one_line(launch("data", "remove", "LFW-FER"), "was not added by this project")
