"""Faces framed alike: aligned copies, and the measure of `data.py verify`.

The detector here is a stand-in that takes every bright square for a face; those that need the real
one say so.
"""

import csv
import os
from pathlib import Path

import numpy as np
import pytest
from conftest import CLASSES, launch
from PIL import Image
from scipy import ndimage
from test_faces import needs_detector
from test_mistakes import said_in_one_line

from fer.config.paths import cache
from fer.config.run import Data, DataSet
from fer.data.faces import detector
from fer.data.faces.detector import Face
from fer.data.faces.face_points import TEMPLATES
from fer.data.faces.framing import Framing, difference
from fer.data.faces.framing_record import recall
from fer.data.synthetic.face import draw, draw_twins
from fer.data.synthetic.sampling import plan_shots, sample_face
from fer.data.verify.findings import Finding
from fer.data.verify.verify import verify

DATA = Data(sets={"lfw": DataSet(folder="LFW"), "mlfw": DataSet(folder="MLFW", twin_of="lfw"),
                  "real": DataSet(folder="REAL")})


def bright_squares(picture: np.ndarray, longest: int | None = None) -> list[Face]:
    """Stands for the detector."""
    places = ndimage.find_objects(ndimage.label(picture.max(-1) > 100)[0])
    faces = []
    for rows, columns in places:
        top, bottom, left, right = rows.start, rows.stop, columns.start, columns.stop
        points = TEMPLATES["cropped"] * [right - left, bottom - top] + [left, top]
        faces.append(Face((left, top, right, bottom), points, 0.9))
    return sorted(faces, key=lambda face: -face.area)


@pytest.fixture
def squares(monkeypatch: pytest.MonkeyPatch) -> None:
    """Faces are bright squares."""
    monkeypatch.setattr(detector, "find_faces", bright_squares)
    monkeypatch.setattr(detector, "weights_file", lambda: Path("none"))
    monkeypatch.setattr(detector, "is_available", lambda: True)


def square(*faces: tuple[int, int, int], size: tuple[int, int] = (160, 160), seed: int = 0
           ) -> Image.Image:
    """A picture of faces, each with its left, top and side."""
    rng = np.random.default_rng(seed)
    pixels = np.full((size[1], size[0], 3), rng.integers(0, 60), np.uint8)
    for left, top, side in faces:
        pixels[top : top + side, left : left + side] = rng.integers(150, 255, (side, side, 3))
    return Image.fromarray(pixels)


def write_squares(folder: Path, split: str, side: int, people: int = 4) -> None:
    for number, cls in enumerate(CLASSES):
        for person in range(people):
            path = folder / split / cls / f"{folder.name.title()}{cls}_P{person}_0001.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            corner = (160 - side) // 2
            square((corner, corner, side), seed=number * 100 + person + side).save(path)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A synthetic set with its masked copy, and a real set that is cropped tighter by a fifth."""
    root = tmp_path / "my data"
    for name in ("LFW", "MLFW"):
        write_squares(root / name, "eval", 90)
    write_squares(root / "REAL", "test", 108)
    monkeypatch.setenv("FER_DATA", str(root))
    monkeypatch.setenv("FER_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return root


def framing_of(root: Path, **sets: str) -> list[Finding]:
    data = DATA.model_copy(update={"sets": {**DATA.sets, **{
        name: DataSet(folder=folder) for name, folder in sets.items()}}})
    return [one for one in verify(data, root).findings if one.kind == "other framing"]


def test_a_real_set_that_is_cropped_tighter_is_found_and_its_aligned_copy_is_not(
    root: Path, squares: None
) -> None:
    (found,) = framing_of(root)
    assert found.grave and found.where == "lfw/eval and real/test" and found.count == 2
    assert "faces fill 56% and 68% of the side" in found.text
    done = launch("data", "align", "REAL", "--as", "ALIGNED", "--frame", "MLFW")
    assert done.returncode == 0, done.stderr
    assert not framing_of(root, real="ALIGNED")


def test_verify_says_the_framing_and_ends_with_1(root: Path, squares: None) -> None:
    done = launch("data", "verify", "MLFW", "LFW", "REAL", "--out", root / "page.html")
    assert "REAL/test: framing: faces fill 68% of the side, eyes at 39% of" in done.stdout
    write_squares(root / "M-LFW-FER", "eval", 70)
    write_squares(root / "LFW-FER", "eval", 90)
    done = launch("data", "verify", "lfw", "mlfw", "--out", root / "page.html")
    assert done.returncode == 1 and "WRONG other framing: lfw/eval and mlfw/eval" in done.stdout
    assert "other framing" in (root / "page.html").read_text()
    files = list((root / "M-LFW-FER").rglob("*.png"))
    assert recall(cache(), files).startswith("faces fill 44% of the side")  # for the report
    assert not recall(cache(), files[1:])


def test_without_the_detector_verify_says_what_it_does_not_measure(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(detector, "is_available", lambda: False)
    done = launch("data", "verify", "LFW", "REAL", "--out", root / "page.html")
    assert "framing: not measured" in done.stdout and "pip install --no-deps" in done.stdout


@pytest.mark.parametrize(("ratio", "shift", "faces", "differs"), [
    (1.0, 0, 60, False), (1.05, 0, 60, False), (1.2, 0, 60, True), (1 / 1.2, 0, 60, True),
    (1.0, 0.08, 60, True), (1.0, 0.03, 60, False), (1.5, 0, 5, False), (1.0, 0, 8, False)])
def test_framings_differ_by_more_than_chance_and_more_than_a_tenth(
    ratio: float, shift: float, faces: int, differs: bool
) -> None:
    def framing(size: float, eyes: float, seed: int) -> Framing:
        rng = np.random.default_rng(seed)
        return Framing(100, np.stack([size * np.exp(rng.normal(0, 0.07, faces)),
                                      eyes + rng.normal(0, 0.02, faces)], 1))

    for seed in range(10):
        one, two = framing(0.6, 0.45, seed), framing(0.6 * ratio, 0.45 + shift, seed + 50)
        assert bool(difference(one, two)) == differs, (one.size, two.size)


def rows_of(folder: Path) -> dict[str, dict[str, str]]:
    with open(folder / "faces.csv", newline="") as handle:
        return {Path(row["original"]).name: row for row in csv.DictReader(handle)}


def test_every_picture_has_a_row_with_its_face_or_the_reason(tmp_path: Path, squares: None) -> None:
    phone = tmp_path / "phone"
    (phone / "trip/day 1").mkdir(parents=True)
    square((20, 30, 80)).save(phone / "one.jpg", quality=95)
    square((5, 5, 60), (90, 90, 60)).save(phone / "two.png")
    square((20, 20, 80), (130, 130, 20)).save(phone / "trip/behind.webp", lossless=True)
    square().save(phone / "trip/day 1/nobody.png")
    square((50, 50, 20)).save(phone / "trip/day 1/far.png")
    (phone / "broken.jpg").write_bytes(b"\xff\xd8\xff not a jpeg")
    (phone / "notes.txt").write_text("no picture")
    done = launch("data", "align", phone, "--out", tmp_path / "out", "--frame", "cropped")
    assert done.returncode == 0, done.stderr
    rows = rows_of(tmp_path / "out")
    assert {name: row["reason"] for name, row in rows.items()} == {
        "one.jpg": "", "two.png": "several faces", "behind.webp": "", "nobody.png": "no face found",
        "far.png": "a face smaller than 40 pixels", "broken.jpg": "not an image"}
    assert "2 of 6 pictures aligned" in done.stdout and "1 with several faces" in done.stdout
    box = rows["one.jpg"]
    assert [float(box[edge]) for edge in ("left", "top", "right", "bottom")] == [20, 30, 100, 110]
    assert box["original"] == str(phone / "one.jpg")
    assert rows["behind.webp"]["file"] == "trip/behind.webp.png"
    for row in (rows["one.jpg"], rows["behind.webp"]):
        with Image.open(tmp_path / "out" / row["file"]) as aligned:
            assert aligned.size == (224, 224)
            assert np.asarray(aligned)[4:-4, 4:-4].min() > 30  # the square fills the frame
    assert not (tmp_path / "out/trip/day 1").exists()
    done = launch("data", "align", phone, "--out", tmp_path / "large", "--largest")
    assert rows_of(tmp_path / "large")["two.png"]["reason"] == ""


def test_a_turned_photograph_is_aligned_upright(tmp_path: Path, squares: None) -> None:
    (tmp_path / "phone").mkdir()
    exif = Image.Exif()
    exif[274] = 6  # turn by 90 degrees clockwise
    square((20, 50, 60), size=(200, 160)).save(tmp_path / "phone/a.jpg", exif=exif, quality=95)
    assert launch("data", "align", tmp_path / "phone", "--out", tmp_path / "out").returncode == 0
    row = rows_of(tmp_path / "out")["a.jpg"]
    assert [round(float(row[edge])) for edge in ("left", "top")] == [50, 20]


def test_an_aligned_set_keeps_names_people_and_facts(root: Path, squares: None) -> None:
    top = root / "REAL"
    file = "test/neutral/Realneutral_P1_0001.png"
    (top / "pictures.csv").write_text(f"file,identity,mask_type\n{file},Ada,cloth\n")
    (top / "dataset.json").write_text('{"people": {"test": "table"}}')
    square().save(top / "test/neutral/Realneutral_P2_0001.png")
    assert launch("data", "align", "REAL", "--as", "ALIGNED").returncode == 0
    assert (root / "ALIGNED/pictures.csv").read_text() == (top / "pictures.csv").read_text()
    assert (root / "ALIGNED/dataset.json").is_file()
    assert len(list((root / "ALIGNED").rglob("*.png"))) == 11
    again = launch("data", "align", "REAL", "--as", "ALIGNED")
    assert again.returncode == 0 and "was there already" in again.stdout
    said_in_one_line(launch("data", "align", "REAL", "--as", "ALIGNED", "--frame", "cropped"),
                     "another source or frame", "frame")


def test_boxes_by_hand_are_taken_and_a_box_nobody_moved_has_the_points_of_the_detector(
    tmp_path: Path, squares: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    phone = tmp_path / "phone"
    phone.mkdir()
    for name in ("moved", "same", "outside", "none", "two"):
        square((20, 30, 80), (110, 120, 40)).save(phone / f"{name}.png")
    table = tmp_path / "boxes.csv"
    table.write_text("file,left,top,right,bottom\nphone/moved.png,110,120,150,160\n"
                     "phone/same.png,20.04,30,100,110\nphone/outside.png,500,500,600,600\n"
                     "phone/none.png,,,,\n")
    done = launch("data", "align", phone, "--out", tmp_path / "out", "--frame", "cropped",
                  "--boxes", table)
    assert done.returncode == 0, done.stderr
    found = rows_of(tmp_path / "out")
    assert {name: row["reason"] for name, row in found.items()} == {
        "moved.png": "", "same.png": "", "outside.png": "no box", "none.png": "no box",
        "two.png": "no box"}
    assert found["same.png"]["score"] == "0.90"
    assert [found["moved.png"][name] for name in ("left", "bottom", "faces")] == [
        "110.0", "160.0", "1"]
    for name in ("moved", "same"):  # either square fills the frame
        with Image.open(tmp_path / f"out/{name}.png") as aligned:
            assert np.asarray(aligned)[4:-4, 4:-4].min() > 100
    said_in_one_line(launch("data", "align", phone, "--out", tmp_path / "out", "--frame",
                            "cropped"), "another source or frame", "boxes")
    again = launch("data", "align", phone, "--out", tmp_path / "out", "--frame", "cropped",
                   "--boxes", table)
    assert "was there already" in again.stdout
    monkeypatch.setattr(detector, "is_available", lambda: False)
    monkeypatch.setattr(detector, "find_faces", lambda picture: pytest.fail("searched"))
    done = launch("data", "align", phone, "--out", tmp_path / "bare", "--frame", "cropped",
                  "--boxes", tmp_path / "out/faces.csv")  # a table of align, corrected by hand
    assert done.returncode == 0 and "2 of 5 pictures aligned" in done.stdout, done.stderr
    assert rows_of(tmp_path / "bare")["moved.png"]["score"] == ""


@pytest.mark.parametrize(("text", "words"), [
    ("file,left,top\na.png,1,2\n", ["no column 'right'"]),
    ("file,left,top,right,bottom\na.png,1,2,3\n", ["boxes.csv:2", "must be pixels"]),
    ("file,left,top,right,bottom\na.png,3,2,1,4\n", ["boxes.csv:2", "is empty"]),
    ("file,left,top,right,bottom\na.png,1,2,3,nan\n", ["boxes.csv:2", "is empty"]),
    ("file,left,top,right,bottom\na.png,,,,\n", ["no row has a box"]),
    ("file,left,top,right,bottom\na.png,1,1,2,2\na.png,1,1,2,2\n", ["boxes.csv:3", "already"])])
def test_a_wrong_table_of_boxes_is_one_line(root: Path, text: str, words: list[str]) -> None:
    (root / "boxes.csv").write_text(text)
    said_in_one_line(launch("data", "align", "REAL", "--as", "X", "--boxes", root / "boxes.csv"),
                     *words)
    assert not (root / "X").exists()


@pytest.mark.parametrize(("arguments", "words"), [
    (("REAL",), ["--out FOLDER", "--as NAME"]), (("NONE", "--as", "X"), ["no folder"]),
    (("REAL", "--as", "X", "--frame", "passport"), ["no frame 'passport'", "funnelled"]),
    (("REAL", "--as", "LFW"), ["exists and was not created by this command"]),
    (("REAL", "--as", "../X"), ["below FER_DATA"]),
    (("REAL", "--as", "X", "--least", "500"), ["no picture is left", "smaller than 500 pixels"])])
def test_a_mistake_is_one_line(root: Path, squares: None, arguments: tuple[str, ...],
                               words: list[str]) -> None:
    before = sorted(root.rglob("*"))
    said_in_one_line(launch("data", "align", *arguments), *words)
    assert sorted(root.rglob("*")) == before  # no lock, no empty folder either


def test_names_without_utf8_have_a_row_and_a_loop_of_links_ends(tmp_path: Path, squares: None
                                                               ) -> None:
    phone = tmp_path / "phone"
    (phone / "trip").mkdir(parents=True)
    square((20, 30, 80)).save(phone / "trip/one.png")
    square((20, 30, 80)).save(phone / os.fsdecode(b"caf\xe9.png"))
    (phone / "trip/up").symlink_to("..")
    done = launch("data", "align", phone, "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert "1 of 2 pictures aligned; left out: 1 with a name that is not UTF-8" in done.stdout
    reasons = {name: row["reason"] for name, row in rows_of(tmp_path / "out").items()}
    assert reasons == {r"caf\xe9.png": "a name that is not UTF-8", "one.png": ""}


def test_two_pictures_of_one_aligned_name_are_refused(tmp_path: Path, squares: None) -> None:
    (tmp_path / "phone").mkdir()
    for name in ("a.webp", "a.webp.png"):
        square((20, 30, 80)).save(tmp_path / "phone" / name)
    said_in_one_line(launch("data", "align", tmp_path / "phone", "--out", tmp_path / "new/out"),
                     "a.webp and a.webp.png would both be a.webp.png")
    assert not (tmp_path / "new").exists()


def test_a_template_comes_before_a_folder_of_its_name(root: Path, squares: None) -> None:
    for name in ("LFW", "MLFW"):  # as the project's drawn sets lie
        (root / "drawn" / name).mkdir(parents=True)
        (root / name).rename(root / "drawn" / name)
    done = launch("data", "align", "REAL", "--as", "X", "--frame", "drawn")
    assert done.returncode == 0 and "12 of 12 pictures aligned" in done.stdout, done.stderr
    with Image.open(next((root / "X").rglob("*.png"))) as aligned:
        assert aligned.size == (250, 250)
    of_set = launch("data", "align", "REAL", "--as", "Y", "--frame", "drawn/MLFW")
    assert of_set.returncode == 0, of_set.stderr


def test_a_frame_needs_faces(root: Path, squares: None) -> None:
    for path in (root / "MLFW").rglob("*.png"):
        square().save(path)
    said_in_one_line(launch("data", "align", "REAL", "--as", "X", "--frame", "MLFW"),
                     "faces are found in 0 of 12 pictures")


@needs_detector
@pytest.mark.slow
def test_a_tighter_crop_of_drawn_faces_is_found_by_the_real_detector(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def save(picture: Image.Image, name: str, number: int, tighter: float = 1.0) -> None:
        margin = 125 * (1 - 1 / tighter)
        path = tmp_path / f"{name}/{CLASSES[number % 3]}/Ada_{'abc'[number % 3]}_{number:04}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        picture.resize((250, 250), Image.Resampling.BICUBIC,
                       (margin, margin, 250 - margin, 250 - margin)).save(path)

    monkeypatch.setattr("fer.data.faces.framing.MANY", 10_000)
    for number, shot in enumerate(plan_shots(1234, "lfw_eval", 36)):
        plain, masked = draw_twins(sample_face(1234, shot))
        save(plain, "LFW/eval", number)
        save(masked, "MLFW/eval", number)
    for number, shot in enumerate(plan_shots(1234, "real_test", 36)):
        real = draw(sample_face(1234, shot))
        save(real, "REAL/test", number)
        save(real, "TIGHT/test", number, 1.2)
    monkeypatch.setenv("FER_DATA", str(tmp_path))
    assert not framing_of(tmp_path)
    assert [one.where for one in framing_of(tmp_path, real="TIGHT")] == ["lfw/eval and real/test"]
    assert launch("data", "align", "TIGHT", "--as", "ALIGNED", "--frame", "MLFW").returncode == 0
    assert not framing_of(tmp_path, real="ALIGNED")
