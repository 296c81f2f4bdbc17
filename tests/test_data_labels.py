"""Labels of a source: the right class for every picture, or one line that says what is missing."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fer.data.ingest.add import AddRequest, add
from fer.data.ingest.label_map import FOLDER, read_labels
from fer.errors import CallerError

CLASSES = ("negative", "neutral", "positive")
AFFECTNET = ("neutral", "happy", "sad", "surprise", "fear", "disgust", "anger", "contempt")
FER2013 = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
RAFDB = (None, "surprise", "fear", "disgust", "happiness", "sadness", "anger", "neutral")
VALENCE = {"happy": "positive", "happiness": "positive", "neutral": "neutral", "surprise": None}


def folders(top: Path, names: list[str]) -> Path:
    """Write class folders of two pictures each."""
    for number, name in enumerate(names):
        for picture in range(2):
            file = top / name / f"Some_Body{number}_{picture + 1:04}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((20, 20, 3), 20 * number + picture, np.uint8)).save(file)
    return top


@pytest.mark.parametrize(("name", "order"), [
    ("affectnet", AFFECTNET), ("fer2013", FER2013), ("rafdb", RAFDB)])
def test_the_numbers_of_a_set_are_its_own(
    name: str, order: tuple[str | None, ...]
) -> None:
    labels = read_labels(name, CLASSES)
    for number, expression in enumerate(order):
        if expression is not None:
            wanted = VALENCE.get(expression, "negative")
            assert labels.of(str(number), "here") == labels.of(expression, "here") == wanted


def test_affectnet_folders_come_in_with_happy_as_positive(tmp_path: Path) -> None:
    source = folders(tmp_path / "source", list("01234567"))
    add(AddRequest(source, "A", "train", labels="affectnet"), tmp_path / "data")
    found = Counter(file.parent.name for file in (tmp_path / "data/A/train").glob("*/*.png"))
    assert found == {"positive": 2, "neutral": 2, "negative": 10}
    names = {file.stem[:10] for file in (tmp_path / "data/A/train/positive").iterdir()}
    assert names == {"Some_Body1"}


@pytest.mark.parametrize("labels", ["", "fer7"])
@pytest.mark.parametrize("names", [["0", "1", "2"], ["3"], ["happy", "7"], ["00", "01"]])
def test_bare_numbers_are_refused_until_their_map_is_named(
    labels: str, names: list[str], tmp_path: Path
) -> None:
    source = folders(tmp_path / "source", names)
    asked = AddRequest(source, "A", "train", labels=labels,
                       classes=(*CLASSES, "happy"))
    with pytest.raises(CallerError, match=r"is a number.*: affectnet, ckplus, fer2013, rafdb"):
        add(asked, tmp_path / "data")
    assert not (tmp_path / "data/A").exists()


def test_a_number_that_the_named_set_does_not_have_is_refused(tmp_path: Path) -> None:
    source = folders(tmp_path / "source", ["0", "1", "7"])
    for name, number in (("fer2013", "7"), ("rafdb", "0")):
        with pytest.raises(CallerError, match=f"label '{number}' is a number"):
            add(AddRequest(source, "A", "train", labels=name), tmp_path / "data")


def test_only_the_map_of_one_set_contains_numbers() -> None:
    numbered = {path.stem for path in FOLDER.glob("*.yaml")
                if any(label.isdigit() for label in read_labels(path.stem, CLASSES).known)}
    assert numbered == {"affectnet", "ckplus", "fer2013", "rafdb"}


@pytest.mark.parametrize(("entries", "words"), [
    ("{Happy: positive, happy: negative}", "two classes: positive and negative"),
    ('{" happy": positive, happy: drop}', "two classes"),
    ("{e\u0301mu: positive, \u00e9mu: negative}", "two classes")])
def test_a_map_that_gives_one_label_two_classes_is_refused(
    entries: str, words: str, tmp_path: Path
) -> None:
    file = tmp_path / "map.yaml"
    file.write_text(f"classes: {entries}\n")
    with pytest.raises(CallerError, match=words):
        read_labels(str(file), CLASSES)


def test_ones_own_map_may_contain_numbers(tmp_path: Path) -> None:
    file = tmp_path / "map.yaml"
    file.write_text("classes: {0: positive, 1: drop}\n")
    labels = read_labels(str(file), CLASSES)
    assert (labels.of("0", ""), labels.of(" 1 ", "")) == ("positive", None)
