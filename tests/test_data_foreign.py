"""What people really have: other tables, Unicode and classes. One set does not stop all."""

import io
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from conftest import CLASSES, launch
from picture_sets import smooth, write_set
from PIL import Image
from test_mistakes import said_in_one_line

from fer.config.run import Data, DataSet
from fer.data.decode import thumbnail
from fer.data.ingest.add import AddRequest, add
from fer.data.layout import scan
from fer.data.splits import pictures_of
from fer.errors import CallerError


def pictures(folder: Path) -> Path:
    """Write img/a.png, img/b.png and img/c.png; return the path of a table beside them."""
    (folder / "img").mkdir(parents=True)
    for number, name in enumerate("abc"):
        smooth(number, 24).save(folder / f"img/{name}.png")
    return folder / "labels.csv"


ROWS = [("img/a.png", "negative"), ("img/b.png", "neutral"), ("img/c.png", "positive")]


def table(separator: str = ",", header: tuple[str, ...] = ("file", "label"), index: bool = False,
          windows: bool = False) -> str:
    lines = [header, *ROWS]
    if index:
        lines = [("", *header), *((str(number), *row) for number, row in enumerate(ROWS))]
    text = "\n".join(separator.join(row) for row in lines) + "\n"
    return text.replace("/", "\\") if windows else text


@pytest.mark.parametrize(("text", "columns"), [
    (table(";"), ""), (table("\t"), ""), (table(index=True), ""), (table(windows=True), ""),
    ("\ufeff" + table(), ""), ("\ufeff" + table(";", index=True, windows=True), ""),
    (table(header=("image", "emotion")), "file=image,label=emotion"),
    (table(header=(" file", "label ")), ""), (table().replace("\n", "\r\n"), ""),
    (table(header=("file", "emotion")), "label=emotion")])
def test_a_table_is_read_as_other_programs_write_it(
    text: str, columns: str, tmp_path: Path
) -> None:
    file = pictures(tmp_path / "t")
    file.write_bytes(text.encode())
    add(AddRequest(file, "T", "test", columns=columns), tmp_path)
    assert [p.relative for p in scan("t", tmp_path / "T", CLASSES)["test"]] == [
        "test/negative/a.png", "test/neutral/b.png", "test/positive/c.png"]


def test_columns_that_nobody_named_are_ignored_once_some_are(tmp_path: Path) -> None:
    file = pictures(tmp_path / "t")
    file.write_text("image,emotion,age\n" + "".join(f"{a},{b},33\n" for a, b in ROWS))
    with pytest.raises(CallerError, match=r"no column 'file' among image, emotion, age.*--columns"):
        add(AddRequest(file, "T", "test"), tmp_path)
    add(AddRequest(file, "T", "test", columns="file=image,label=emotion"), tmp_path)


@pytest.mark.parametrize(("text", "columns", "words"), [
    (table(), "file=image", "has no column 'image'; it has: file, label"),
    (table(), "picture=file", "'picture' is none of ours"), (table(), "file", "OURS=THEIRS"),
    ("file,label,label\n", "", "no rows"), ("file,label,label\na,b,c\n", "", "'label' is there t"),
    ("file,label\na.png,neutral,x\n", "", r"csv:2: more cells than the 2 columns")])
def test_a_table_that_cannot_be_read_names_the_cause(
    text: str, columns: str, words: str, tmp_path: Path
) -> None:
    file = pictures(tmp_path / "t")
    file.write_text(text)
    with pytest.raises(CallerError, match=words):
        add(AddRequest(file, "T", "test", columns=columns), tmp_path)


def test_composed_and_decomposed_names_are_one_person_and_one_class(tmp_path: Path) -> None:
    classes = ("négatif", "neutre", "positif")
    for number, (form, cls) in enumerate((form, cls) for form in ("NFC", "NFD")
                                         for cls in classes):
        name = unicodedata.normalize(form, f"Zoë_Müller_{number:04}.png")
        file = tmp_path / "s" / form / "train" / unicodedata.normalize(form, cls) / name
        file.parent.mkdir(parents=True)
        smooth(number, 24).save(file)
    people = {p.identity for form in ("NFC", "NFD")
              for p in scan("s", tmp_path / "s" / form, classes)["train"]}
    assert people == {"Zoë_Müller"}
    add(AddRequest(tmp_path / "s/NFD", "D", classes=classes), tmp_path)
    assert len(scan("d", tmp_path / "D", classes)["train"]) == 3


def test_a_copy_whose_names_are_decomposed_is_still_a_copy(tmp_path: Path) -> None:
    for form, folder in (("NFC", "own"), ("NFD", "copy")):
        for number in range(60):
            name = unicodedata.normalize(form, f"Zoë{number}.png")
            file = tmp_path / folder / "train" / CLASSES[number % 3] / name
            file.parent.mkdir(parents=True, exist_ok=True)
            smooth(number, 24).save(file)
    data = Data(sets={"own": DataSet(folder="own"), "copy": DataSet(folder="copy", twin_of="own")})
    val = [p.place for p in pictures_of("own/val", data, tmp_path)]
    assert [p.place for p in pictures_of("copy/val", data, tmp_path)] == val


def test_a_thumbnail_is_turned_as_models_see_the_picture(tmp_path: Path) -> None:
    import base64

    pixels = np.zeros((40, 80, 3), np.uint8)
    pixels[:, :40] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees to the right
    Image.fromarray(pixels).save(tmp_path / "a.jpg", exif=exif)
    shown = thumbnail(tmp_path / "a.jpg")
    assert shown is not None
    picture = Image.open(io.BytesIO(base64.b64decode(shown.partition(",")[2])))
    assert picture.size == (40, 80) and picture.convert("L").getpixel((20, 10)) > 200


def test_a_set_of_seven_classes_does_not_stop_list_and_verify(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "data"
    monkeypatch.setenv("FER_DATA", str(root))
    monkeypatch.setenv("FER_CACHE", str(tmp_path / "cache"))
    write_set(root / "GOOD", {"test": 2})
    for number in range(7):
        file = root / f"SEVEN/test/emotion{number}/a.png"
        file.parent.mkdir(parents=True)
        smooth(number, 24).save(file)
    listed = launch("data", "list")
    assert listed.returncode == 0 and "GOOD/test: 6 pictures" in listed.stdout
    assert "SEVEN: not read: data set 'SEVEN'" in listed.stdout
    checked = launch("data", "verify", "--out", tmp_path / "page.html")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "note  not read: SEVEN" in checked.stdout
    said_in_one_line(launch("data", "list", "SEVEN"), "emotion0 is not a class")
