"""Data sets of the field come in by their own layouts, or are refused in one line."""

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import launch
from picture_sets import smooth
from PIL import Image
from test_mistakes import said_in_one_line

from fer.data.ingest.add import AddRequest, add
from fer.data.metadata import Facts, read_facts, read_people
from fer.errors import CallerError

EXPRESSIONS = {"neutral": "neutral", "happy": "positive", "sad": "negative", "fear": "negative",
               "surprise": None}
RAFDB = {"surprise": 1, "fear": 2, "happy": 4, "sad": 5, "neutral": 7}
AFFECTNET = {"neutral": 0, "happy": 1, "sad": 2, "surprise": 3, "fear": 4}
CKPLUS = {"neutral": 0, "fear": 4, "happy": 5, "sad": 6, "surprise": 7}
PICTURES = [(expression, number) for expression in EXPRESSIONS for number in range(2)]
"""Two pictures of each expression; each picture tells which it is by its content."""


def save(path: Path, expression: str, number: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    smooth([*EXPRESSIONS].index(expression) * 10 + number, 24).save(path)
    return path


def expression_of(path: Path) -> str:
    """The expression that a picture was saved for."""
    pixels = np.asarray(Image.open(path).convert("RGB"), int)
    far = {(expression, number): np.abs(
        pixels - np.asarray(smooth([*EXPRESSIONS].index(expression) * 10 + number, 24), int)).mean()
        for expression, number in PICTURES}
    return min(far, key=lambda one: far[one])[0]


def rafdb_list(top: Path) -> None:
    lines = []
    for index, (expression, number) in enumerate(PICTURES):
        name = f"{'train' if number == 0 else 'test'}_{index:05}"
        save(top / f"basic/Image/aligned/{name}_aligned.jpg", expression, number)
        save(top / f"basic/Image/original/{name}.jpg", expression, number)
        lines.append(f"{name}.jpg {RAFDB[expression]}")
    (top / "basic/EmoLabel").mkdir()
    (top / "basic/EmoLabel/list_patition_label.txt").write_text("\n".join(lines) + "\n")


def rafdb_folders(top: Path) -> None:
    for index, (expression, number) in enumerate(PICTURES):
        part = "train" if number == 0 else "test"
        save(top / f"DATASET/{part}/{RAFDB[expression]}/{part}_{index:05}_aligned.jpg", expression,
             number)
    (top / "train_labels.csv").write_text("image,label\n")


def affectnet_arrays(top: Path) -> None:
    for index, (expression, number) in enumerate(PICTURES):
        part = top / ("train_set" if number == 0 else "val_set")
        save(part / f"images/{index}.jpg", expression, number)
        (part / "annotations").mkdir(exist_ok=True)
        for kind, value in (("exp", str(AFFECTNET[expression])), ("val", "0.5"), ("aro", "-2")):
            np.save(part / f"annotations/{index}_{kind}.npy", np.array(value))


def affectnet_lists(top: Path) -> None:
    rows: dict[str, list[str]] = {"training": [], "validation": []}
    for index, (expression, number) in enumerate(PICTURES):
        name = f"{index % 3}/{index:06x}.jpg"
        save(top / "Manually_Annotated_Images" / name, expression, number)
        rows["training" if number == 0 else "validation"].append(
            f"{name},1,2,30,30,1;2,{AFFECTNET[expression]},0.1,0.2")
    for name, lines in rows.items():
        (top / f"{name}.csv").write_text("\n".join([
            "subDirectory_filePath,face_x,face_y,face_width,face_height,facial_landmarks,"
            "expression,valence,arousal", *lines]) + "\n")


def fer2013_folders(top: Path) -> None:
    for index, (expression, number) in enumerate(PICTURES):
        part, name = ("train", "Training") if number == 0 else ("test", "PrivateTest")
        save(top / f"{part}/{expression}/{name}_{index:08}.jpg", expression, number)


def ckplus(top: Path) -> None:
    for index, (expression, number) in enumerate(PICTURES):
        person = f"S{5 + index // 2:03}"
        for frame in (1, 12):
            name = f"{person}/00{number + 1}/{person}_00{number + 1}_{frame:08}"
            shown = expression if frame == 12 else "neutral"
            save(top / f"cohn-kanade-images/{name}.png", shown, number)
        label = top / f"Emotion/{name}_emotion.txt"
        label.parent.mkdir(parents=True, exist_ok=True)
        label.write_text(f"   {CKPLUS[expression]}.0000000e+00\n")


def ckplus_folders(top: Path) -> None:
    for index, (expression, number) in enumerate(PICTURES):
        save(top / f"train/{expression}/S{index // 2:03}_001_{index:08}.png", expression, number)


def hugging_face(top: Path) -> None:
    for part, wanted in (("train", 0), ("test", 1)):
        rows = [["file_name", "expression", "caption"]]
        for expression, number in PICTURES:
            if number == wanted:
                save(top / f"data/{part}/{expression}.png", expression, number)
                rows.append([f"{expression}.png", expression, "a face, I think"])
        with open(top / f"data/{part}/metadata.csv", "w", newline="") as handle:
            csv.writer(handle).writerows(rows)


def hugging_face_lines(top: Path) -> None:
    lines = []
    for index, (expression, number) in enumerate(PICTURES):
        part = "train" if number == 0 else "validation"
        save(top / f"{part}/{index}.png", expression, number)
        lines.append(f'{{"file_name": "{part}/{index}.png", "label": "{expression}"}}')
    (top / "metadata.jsonl").write_text("\n".join(lines) + "\n")


LAYOUTS: list[tuple[Callable[[Path], None], str, str, str, set[str]]] = [
    (rafdb_list, "RAF-DB", "labels by rafdb", "", {"train", "test"}),
    (rafdb_folders, "RAF-DB", "labels by rafdb", "", {"train", "test"}),
    (affectnet_arrays, "AffectNet", "labels by affectnet", "", {"train", "val"}),
    (affectnet_lists, "AffectNet", "labels by affectnet", "", {"train", "val"}),
    (fer2013_folders, "FER2013", "labels by fer2013", "", {"train", "test"}),
    (ckplus, "CK+", "labels by ckplus", "", {"train"}),
    (ckplus_folders, "CK+", "labels by ckplus", "", {"train"}),
    (hugging_face, "a Hugging Face image folder", "labels are the", "fer7", {"train", "test"}),
    (hugging_face_lines, "a Hugging Face image folder", "", "fer7", {"train", "val"})]


@pytest.mark.parametrize(("write", "name", "words", "labels", "splits"), LAYOUTS)
def test_every_picture_of_a_known_layout_has_its_label(
    tmp_path: Path, write: Callable[[Path], None], name: str, words: str, labels: str,
    splits: set[str]
) -> None:
    write(tmp_path / "source")
    said: list[str] = []

    def say(line: str) -> None:
        assert not (tmp_path / "data/X").exists()  # nothing is written yet
        said.append(line)

    lines = add(AddRequest(tmp_path / "source", "X", labels=labels), tmp_path / "data", say=say)
    assert f"read as {name} (by " in said[0] and (labels or words) in said[0]
    found = sorted((tmp_path / "data/X").glob("*/*/*.*g"))
    assert len(found) == 8 and {path.parts[-3] for path in found} == splits
    for path in found:
        assert path.parent.name == EXPRESSIONS[expression_of(path)], path
    assert "2 with label" in " ".join(lines)  # surprise


def test_people_of_ckplus_are_its_subjects(tmp_path: Path) -> None:
    for write in (ckplus, ckplus_folders):
        write(tmp_path / write.__name__)
        add(AddRequest(tmp_path / write.__name__, write.__name__), tmp_path / "data")
        top = tmp_path / "data" / write.__name__
        assert read_people(top) == {"train": "table"}
        assert len({one.identity for one in read_facts(top).values()}) == 4


@pytest.mark.parametrize("write", [rafdb_list, affectnet_arrays, fer2013_folders])
def test_people_of_the_others_are_unknown(tmp_path: Path, write: Callable[[Path], None]) -> None:
    write(tmp_path / "source")
    add(AddRequest(tmp_path / "source", "X"), tmp_path / "data")
    assert set(read_people(tmp_path / "data/X").values()) == {"unknown"}


VOTES = {"neutral": [8, 0, 0, 2, 0, 0, 0, 0, 0, 0], "happy": [1, 6, 3, 0, 0, 0, 0, 0, 0, 0],
         "fear": [0, 0, 1, 0, 0, 0, 9, 0, 0, 0], "surprise": [0, 0, 10, 0, 0, 0, 0, 0, 0, 0],
         "tie": [5, 0, 0, 5, 0, 0, 0, 0, 0, 0], "no face": [0, 0, 0, 0, 0, 0, 0, 0, 0, 10]}


def ferplus(top: Path, usage: str = "Training") -> None:
    top.mkdir()
    pixels, votes = ["emotion,pixels,Usage"], [
        "Usage,Image name,neutral,happiness,surprise,sadness,anger,disgust,fear,contempt,"
        "unknown,NF"]
    for number, ballot in enumerate(VOTES.values()):
        pixels.append(f"3,{' '.join([str(number * 20)] * 576)},Training")
        votes.append(f"{usage},f{number}.png,{','.join(map(str, ballot))}")
    (top / "fer2013.csv").write_text("\n".join(pixels) + "\n")
    (top / "fer2013new.csv").write_text("\n".join(votes) + "\n")


def test_votes_of_ferplus_become_labels_and_their_agreement_is_kept(tmp_path: Path) -> None:
    ferplus(tmp_path / "source")
    lines = " ".join(add(AddRequest(tmp_path / "source", "P"), tmp_path / "data"))
    facts = read_facts(tmp_path / "data/P")
    assert {file: one.agreement for file, one in facts.items()} == {
        "train/neutral/000001.png": "0.8", "train/positive/000002.png": "0.6",
        "train/negative/000003.png": "0.9"}
    assert "1 without a single winner of the votes" in lines and "most take for no face" in lines
    again = add(AddRequest(tmp_path / "source", "P"), tmp_path / "data")
    assert "already present" in " ".join(again)


def test_votes_in_another_order_than_the_pictures_are_refused(tmp_path: Path) -> None:
    ferplus(tmp_path / "source", usage="PublicTest")
    with pytest.raises(CallerError, match="not the same order"):
        add(AddRequest(tmp_path / "source", "P"), tmp_path / "data")
    (tmp_path / "source/fer2013.csv").unlink()
    with pytest.raises(CallerError, match=r"0 files fer2013\.csv"):
        add(AddRequest(tmp_path / "source", "P"), tmp_path / "data")


def test_a_person_is_a_folder_only_if_the_user_says_so(tmp_path: Path) -> None:
    for index, (expression, number) in enumerate(PICTURES):
        save(tmp_path / f"msd/person {index // 4}/{expression}/{index}.png", expression, number)
    request = AddRequest(tmp_path / "msd", "M", "test", labels="fer7")
    with pytest.raises(CallerError, match=r"if these folders are people, --people folder"):
        add(request, tmp_path / "data")
    add(AddRequest(tmp_path / "msd", "M", "test", labels="fer7", people="folder"),
        tmp_path / "data")
    found = sorted((tmp_path / "data/M").glob("*/*/*.png"))
    assert len(found) == 8
    assert all(path.parent.name == EXPRESSIONS[expression_of(path)] for path in found)
    assert {one.identity for one in read_facts(tmp_path / "data/M").values()} == {
        "person 0", "person 1"}


@pytest.mark.parametrize(("first", "second"), [
    (rafdb_list, affectnet_arrays), (affectnet_lists, hugging_face), (ckplus, rafdb_list),
    (hugging_face_lines, ferplus)])
def test_two_sets_in_one_folder_are_refused(tmp_path: Path, first: Callable[[Path], None],
                                            second: Callable[[Path], None]) -> None:
    first(tmp_path / "source/one")
    second(tmp_path / "source/two")
    done = launch("data", "add", tmp_path / "source", "--as", "X", FER_DATA=str(tmp_path / "data"))
    said_in_one_line(done, "add each from a folder of its own")


def broken(write: Callable[[Path], None], file: str, text: str | None) -> Callable[[Path], None]:
    def spoilt(top: Path) -> None:
        write(top)
        (name,) = [path for path in top.rglob(Path(file).name) if str(path).endswith(file)]
        if text is None:
            name.unlink()
        else:
            name.write_text(text)

    return spoilt


@pytest.mark.parametrize(("write", "words"), [
    (broken(rafdb_list, "list_patition_label.txt", "train_99999.jpg 4\n"), "no picture for train"),
    (broken(rafdb_list, "list_patition_label.txt", "train_00000.jpg\n"), ":1: expected a file"),
    (broken(rafdb_list, "list_patition_label.txt", "train_00000.jpg 9\n"), "label '9' is a number"),
    (broken(rafdb_list, "list_patition_label.txt", "train_00000.jpg 4\ntrain_00000.jpg 5\n"),
     "is labelled in"),
    (broken(affectnet_arrays, "train_set/images/0.jpg", None), "no picture for train_set/images/0"),
    (broken(affectnet_arrays, "0_exp.npy", "not an array"), "not an array of one label"),
    (broken(affectnet_lists, "training.csv", "a,b\n1,2\n"), "no columns subDirectory_filePath"),
    (broken(ckplus, "S005_001_00000012_emotion.txt", "8.0"), "a number from 0 to 7, found '8.0'"),
    (broken(hugging_face, "test/neutral.png", None), "no file"),
    (broken(hugging_face, "test/metadata.csv", "file_name,label,emotion\nneutral.png,sad,happy\n"),
     "more than one column of label"),
    (broken(hugging_face, "test/metadata.csv", "file_name,label\nneutral.png,0\n"), "label '0' is"),
    (broken(hugging_face_lines, "metadata.jsonl",
            '{"file_name": "train/0.png", "label": "sad"}\nx\n'), ":2: not JSON")])
def test_a_damaged_layout_names_the_place(tmp_path: Path, write: Callable[[Path], None], words: str
                                          ) -> None:
    write(tmp_path / "source")
    labels = "fer7" if list((tmp_path / "source").rglob("metadata.*")) else ""
    with pytest.raises(CallerError) as caught:
        add(AddRequest(tmp_path / "source", "X", labels=labels), tmp_path / "data")
    assert words in str(caught.value) and "\n" not in str(caught.value)
    assert not (tmp_path / "data/X").exists()


def test_a_table_that_contradicts_the_folders_is_refused(tmp_path: Path) -> None:
    rows = ["file_name,label"]
    for expression, number in PICTURES:
        save(tmp_path / f"s/train/{expression}/{expression}{number}.png", expression, number)
        rows.append(f"train/{expression}/{expression}{number}.png,{expression}")
    table = tmp_path / "s/metadata.csv"
    table.write_text("\n".join(rows) + "\n")
    add(AddRequest(tmp_path / "s", "X", labels="fer7"), tmp_path / "data")
    table.write_text("\n".join(rows).replace("sad0.png,sad", "sad0.png,happy") + "\n")
    with pytest.raises(CallerError, match=r"label 'happy' of train/sad/sad0\.png, which is in the"):
        add(AddRequest(tmp_path / "s", "Y", labels="fer7"), tmp_path / "data")


def test_a_table_of_other_things_leaves_the_class_folders_alone(tmp_path: Path) -> None:
    for expression, number in PICTURES:
        save(tmp_path / f"s/train/{expression}/{expression}{number}.png", expression, number)
    (tmp_path / "s/metadata.csv").write_text("camera,lens\nA,50\n")
    lines = add(AddRequest(tmp_path / "s", "X", labels="fer7"), tmp_path / "data")
    assert "8 of 11 files taken" in " ".join(lines)


def test_numbers_without_the_names_of_a_set_are_not_taken_for_one(tmp_path: Path) -> None:
    for expression, number in PICTURES:
        save(tmp_path / f"s/train/{RAFDB[expression]}/{expression}{number}.jpg", expression, number)
    with pytest.raises(CallerError, match="is a number"):
        add(AddRequest(tmp_path / "s", "X"), tmp_path / "data")


def test_the_text_of_facts_in_records_of_before_is_unchanged() -> None:
    assert repr(Facts("Ada", "cloth")) == (
        "Facts(identity='Ada', mask_type='cloth', pose='', annotator='')")
