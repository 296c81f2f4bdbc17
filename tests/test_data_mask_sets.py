"""`launch/data.py mask` and `sheet`: masked twins of whole sets, and contact sheets."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import CLASSES, launch, write_toy_set
from PIL import Image
from test_mistakes import said_in_one_line

from fer.data.faces.detector import Face
from fer.data.faces.face_points import TEMPLATES
from fer.data.layout import scan
from fer.data.masks.landmarks import COLUMNS, LandmarkSource
from fer.data.masks.masked_copy import Twin, write_twin
from fer.data.metadata import read_facts


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data root with one small set."""
    root = tmp_path / "my data"
    write_toy_set(root / "MINE", "train", people=4)
    write_toy_set(root / "MINE", "eval", people=2, first=9)
    monkeypatch.setenv("FER_DATA", str(root))
    monkeypatch.setenv("FER_CACHE", str(tmp_path / "cache"))
    return root


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*.jpg"))


def contents(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in files(folder)}


def mask(*arguments: object):
    return launch("data", "mask", *arguments)


def test_a_masked_twin_has_the_same_names_and_says_what_each_picture_wears(root: Path) -> None:
    done = mask("MINE", "--as", "MANY", "--landmarks", "cropped", "--styles", "cloth,kn95")
    assert done.returncode == 0, done.stderr
    assert "18 pictures masked" in done.stdout
    assert files(root / "MANY") == files(root / "MINE")
    with open(root / "MANY/pictures.csv", newline="") as handle:
        rows = {row["file"]: row["mask_type"] for row in csv.DictReader(handle)}
    assert set(rows) == set(files(root / "MINE")) and set(rows.values()) == {"cloth", "kn95"}
    first = files(root / "MINE")[0]
    before, after = (np.asarray(Image.open(root / name / first), int) for name in ("MINE", "MANY"))
    assert np.abs(before - after)[40:].mean() > 10 and np.abs(before - after)[:12].mean() < 5


def test_a_second_call_changes_nothing_and_another_wish_is_refused(root: Path) -> None:
    arguments = ("MINE", "--as", "MANY", "--landmarks", "cropped", "--styles", "cloth")
    assert mask(*arguments).returncode == 0
    before = {path: path.stat().st_mtime_ns for path in (root / "MANY").rglob("*")}
    again = mask(*arguments)
    assert again.returncode == 0 and "was there already" in again.stdout
    assert {path: path.stat().st_mtime_ns for path in (root / "MANY").rglob("*")} == before
    said_in_one_line(mask(*arguments, "--seed", 2), "MANY", "other masks")
    said_in_one_line(mask("MINE", "--as", "MINE", "--landmarks", "cropped"),
                     "was not created by this command")


def test_a_mask_does_not_depend_on_which_other_pictures_are_there(root: Path) -> None:
    arguments = ("--landmarks", "cropped", "--styles", "all")
    assert mask("MINE", "--as", "A", *arguments).returncode == 0
    shutil.copytree(root / "MINE", root / "FEWER")
    (root / "FEWER" / files(root / "MINE")[3]).unlink()
    assert mask("FEWER", "--as", "B", *arguments).returncode == 0
    fewer = contents(root / "B")
    assert fewer == {name: data for name, data in contents(root / "A").items() if name in fewer}
    assert mask("MINE", "--as", "C", "--splits", "eval", *arguments).returncode == 0
    assert {name.split("/")[0] for name in files(root / "C")} == {"eval"}


def test_pictures_that_came_since_and_other_landmarks_are_noticed(root: Path) -> None:
    arguments = ("MINE", "--as", "MANY", "--landmarks", write_landmarks(root), "--styles", "cloth")
    assert mask(*arguments).returncode == 0
    write_landmarks(root, nose_y=36)
    said_in_one_line(mask(*arguments), "masks of other pictures", "listing")
    shutil.rmtree(root / "MANY")
    assert mask("MINE", "--as", "MANY", "--landmarks", "cropped").returncode == 0
    write_toy_set(root / "MINE", "test", people=1, first=70)
    said_in_one_line(mask("MINE", "--as", "MANY", "--landmarks", "cropped"), "pictures 18")
    said_in_one_line(mask("MINE", "--as", "../MANY", "--landmarks", "cropped"), "below FER_DATA")


def test_a_twin_keeps_what_is_known_of_people_whatever_classes_are_called(root: Path) -> None:
    for split in ("train", "eval"):
        for name in ("negative", "neutral", "positive"):
            (root / f"MINE/{split}/{name}").rename(root / f"MINE/{split}/{name.title()}")
    first = files(root / "MINE")[0]
    (root / "MINE/pictures.csv").write_text(f"file,identity\n{first},Ann\n")
    assert mask("MINE", "--as", "MANY", "--landmarks", "cropped").returncode == 0
    assert files(root / "MANY") == files(root / "MINE")
    with open(root / "MANY/pictures.csv", newline="") as handle:
        assert {row["file"]: row["identity"] for row in csv.DictReader(handle)}[first] == "Ann"


@pytest.mark.parametrize("name", ["Negative", "NEGATIVE", "negative"])
@pytest.mark.parametrize("known", ["train/negative", "train/Negative", "TRAIN/NEGATIVE"])
def test_mask_types_and_people_reach_the_pictures_whatever_the_case_of_a_class_folder(
    name: str, known: str, root: Path
) -> None:
    (root / "MINE/train/negative").rename(root / "MINE/train/other")
    (root / "MINE/train/other").rename(root / "MINE/train" / name)
    first = sorted(path.name for path in (root / "MINE/train" / name).iterdir())[0]
    (root / "MINE/pictures.csv").write_text(f"file,identity\n{known}/{first},Ann\n")
    twin = Twin(root / "MINE", ("cloth",), 0, LandmarkSource(template="cropped"), "cropped")
    assert write_twin(twin, root / "MANY") is not None
    pictures = scan("many", root / "MANY", CLASSES)["train"]
    assert {picture.identity for picture in pictures if picture.path.name == first} == {"Ann"}
    facts = read_facts(root / "MANY")
    assert {facts[picture.relative].mask_type for picture in pictures} == {"cloth"}


def test_a_picture_that_cannot_be_read_is_left_out_and_said(root: Path) -> None:
    bad = root / "MINE" / files(root / "MINE")[0]
    bad.write_bytes(bad.read_bytes()[:200])
    done = mask("MINE", "--as", "MANY", "--landmarks", "cropped")
    assert done.returncode == 0 and "1 left out, such as" in done.stdout
    assert len(files(root / "MANY")) == 17
    left_out = json.loads((root / "MANY/masks.json").read_text())["left_out"]
    assert list(left_out) == [files(root / "MINE")[0]]


def write_landmarks(root: Path, **wrong: float) -> Path:
    points = {"left_eye_x": 20, "left_eye_y": 20, "right_eye_x": 44, "right_eye_y": 20,
              "nose_x": 32, "nose_y": 34, "left_mouth_x": 22, "left_mouth_y": 48,
              "right_mouth_x": 42, "right_mouth_y": 48, **wrong}
    file = root / "landmarks.csv"
    rows = [",".join([name, *(str(points[column]) for column in COLUMNS[1:])])
            for name in files(root / "MINE")]
    file.write_text("\n".join([",".join(COLUMNS), *rows]) + "\n")
    return file


def test_landmarks_of_a_csv_place_the_masks(root: Path) -> None:
    file = write_landmarks(root)
    done = mask("MINE", "--as", "MANY", "--landmarks", file, "--styles", "flat")
    assert done.returncode == 0, done.stderr
    pixels = np.asarray(Image.open(root / "MANY" / files(root / "MANY")[0]))
    assert pixels[46, 32].min() > 230


@pytest.mark.parametrize(("wrong", "words"), [
    ({"nose_y": 70.0}, ["nose at (32, 70)", "64 x 64"]), ({"left_eye_x": -3.0}, ["left_eye"])])
def test_landmarks_outside_the_picture_are_one_line_and_nothing_is_written(
    wrong: dict[str, float], words: list[str], root: Path
) -> None:
    done = mask("MINE", "--as", "MANY", "--landmarks", write_landmarks(root, **wrong))
    said_in_one_line(done, "Toy_Person", *words)
    assert [path.name for path in root.iterdir() if "MANY" in path.name] == [".MANY.lock"]


def test_pictures_without_landmarks_are_counted_before_anything_is_drawn(root: Path) -> None:
    file = write_landmarks(root)
    lines = file.read_text().splitlines()
    file.write_text("\n".join(lines[:-2]) + "\n")
    said_in_one_line(mask("MINE", "--as", "MANY", "--landmarks", file), "2 of 18", "Toy_Person")


@pytest.mark.parametrize(("arguments", "words"), [
    (("NOBODY", "--as", "X"), ["NOBODY"]),
    (("MINE", "--as", "X", "--landmarks", "cropped", "--styles", "burka"), ["burka", "surgical"]),
    (("MINE", "--as", "X", "--landmarks", "ears"), ["ears", "funnelled", "detect"]),
    (("MINE", "--as", "X", "--landmarks", "cropped", "--splits", "holdout"),
     ["holdout", "eval, train"]),
])
def test_a_wish_that_makes_no_sense_is_one_line(
    arguments: tuple[str, ...], words: list[str], root: Path
) -> None:
    said_in_one_line(mask(*arguments), *words)
    assert [path.name for path in root.iterdir()] == ["MINE"]


def test_contact_sheets_are_pictures_of_every_style_and_of_a_preset(
    root: Path, tmp_path: Path
) -> None:
    done = launch("data", "sheet", "masks", "--rows", 1, "--out", tmp_path / "a/masks.png")
    assert done.returncode == 0, done.stderr
    assert Image.open(tmp_path / "a/masks.png").size == (11 * 224, 224 + 22)
    done = launch("data", "sheet", "seed2021", "--of", "MINE", "--rows", 2, "--out",
                  tmp_path / "p.png")
    assert done.returncode == 0, done.stderr
    pixels = np.asarray(Image.open(tmp_path / "p.png"))[22:246]
    plain, passes = pixels[:, :224], [pixels[:, 224 * k : 224 * (k + 1)] for k in (1, 2, 3, 4)]
    assert [np.array_equal(one, plain) for one in passes] == [False, False, False, True]
    for mix in ("mixup", "cutmix"):
        done = launch("data", "sheet", mix, "--rows", 2, "--out", tmp_path / f"{mix}.png")
        assert done.returncode == 0, done.stdout + done.stderr
        assert Image.open(tmp_path / f"{mix}.png").size == (2240, 2 * 224 + 22)
    said_in_one_line(launch("data", "sheet", "sepia"), "sepia", "light", "masks")
    said_in_one_line(launch("data", "sheet", "light", "--out", "a.xyz"), "a.xyz", ".png")
    said_in_one_line(launch("data", "sheet", "masks", "--of", "MINE"), "--landmarks")


def test_masks_are_laid_over_the_faces_that_are_found(root: Path, monkeypatch: pytest.MonkeyPatch
                                                      ) -> None:
    def one_face(picture: np.ndarray) -> list[Face]:
        if picture[:21, 16:48].mean() > 120:  # the bright bar of the toy class negative
            return []
        return [Face((8, 8, 56, 56), TEMPLATES["cropped"] * size, 0.9) for size in (64.0, 20.0)]

    monkeypatch.setattr("fer.data.masks.landmarks.find_faces", one_face)
    monkeypatch.setattr("fer.data.masks.landmarks.weights_file", lambda: None)
    done = mask("MINE", "--as", "MANY", "--landmarks", "detect", "--styles", "cloth")
    assert done.returncode == 0, done.stderr
    assert "12 pictures masked" in done.stdout and "6 left out" in done.stdout
    assert "no face found" in done.stdout
    assert mask("MINE", "--as", "SAME", "--landmarks", "cropped", "--styles", "cloth"
                ).returncode == 0
    found = contents(root / "MANY")
    assert found == {name: data for name, data in contents(root / "SAME").items() if name in found}
