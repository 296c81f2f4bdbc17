"""`launch/data.py add`: zips as downloaded, folders, tables, pixels; whole or not at all."""

import json
import os
import signal
import stat
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
from conftest import CLASSES, REPOSITORY, launch, write_toy_set
from PIL import Image
from test_mistakes import said_in_one_line

from fer.config.run import Data, DataSet
from fer.data.splits import pictures_of

JPEG = b"\xff\xd8\xff"  # the first bytes of every one


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty data root."""
    root = tmp_path / "my data"
    root.mkdir()
    monkeypatch.setenv("FER_DATA", str(root))
    return root


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A set of 15 pictures in the layout, with train and eval."""
    folder = tmp_path / "source"
    write_toy_set(folder, "train", people=4)
    write_toy_set(folder, "eval", people=1, first=9)
    return folder


def zipped(folder: Path, file: Path, prefix: str = "", **more: bytes) -> Path:
    """Zip a folder below `prefix`, with more members."""
    with zipfile.ZipFile(file, "w") as archive:
        for path in sorted(folder.rglob("*.jpg")):
            archive.write(path, f"{prefix}{path.relative_to(folder)}")
        for name, content in more.items():
            archive.writestr(name, content)
    return file


def add(*arguments: object) -> subprocess.CompletedProcess[str]:
    return launch("data", "add", *arguments)


def splits(root: Path, name: str) -> dict[str, int]:
    """Pictures a split, as training sees them."""
    data = Data(sets={"x": DataSet(folder=name)})
    found = {}
    for split in ("eval", "test", "train", "unmasked"):
        if (root / name / split).is_dir():
            found[split] = len(pictures_of(f"x/{split}", data, root))
    return found


def everything(folder: Path) -> dict[str, tuple[int, int]]:
    return {str(path): (path.stat().st_size, path.stat().st_mtime_ns)
            for path in sorted(folder.rglob("*"))}


def test_a_zip_goes_in_with_one_command_and_a_second_one_changes_nothing(
    root: Path, source: Path, tmp_path: Path
) -> None:
    file = zipped(source, tmp_path / "faces.zip", "TOP/Top/", **{
        "__MACOSX/TOP/Top/train/neutral/._A_B_0001.jpg": b"x", "TOP/.DS_Store": b"x",
        "TOP/Top/train/neutral/Thumbs.db": b"x", "TOP/readme.txt": b"x"})
    done = add(file, "--as", "FACES")
    assert done.returncode == 0, done.stderr
    assert "SHA-256" in done.stdout
    assert "FACES/train: 12 pictures (4 negative, 4 neutral, 4 positive) added" in done.stdout
    assert (root / "FACES/eval/neutral/Toy_Person009_0002.jpg").read_bytes() == (
        source / "eval/neutral/Toy_Person009_0002.jpg").read_bytes()
    assert splits(root, "FACES")["eval"] == 3
    before = everything(root)
    again = add(file, "--as", "FACES")
    assert again.returncode == 0 and again.stdout.count("already present") == 2
    assert everything(root) == before


def test_folders_in_upper_case_come_in_as_lower_case(root: Path, tmp_path: Path) -> None:
    write_toy_set(tmp_path / "s", "TRAIN", people=2)
    (tmp_path / "s/TRAIN/neutral").rename(tmp_path / "s/TRAIN/Neutral")
    assert add(tmp_path / "s", "--as", "UP").returncode == 0
    assert len(list((root / "UP/train/neutral").iterdir())) == 2


def test_a_published_name_with_another_digest_is_taken_only_when_told_to(
    root: Path, source: Path, tmp_path: Path
) -> None:
    file = zipped(source, tmp_path / "LFW-FER.zip", "LFW-FER/")
    said_in_one_line(add(file), "not the published LFW-FER", "--any-hash")
    assert not list(root.iterdir())
    done = add(file, "--any-hash")
    assert done.returncode == 0 and "not the published" in done.stdout
    assert splits(root, "LFW-FER")["eval"] == 3  # by the name that configs/base.yaml has


@pytest.mark.parametrize(("member", "words"), [
    ("../evil.jpg", "outside"), ("/etc/evil.jpg", "outside"), ("C:\\evil.jpg", "outside"),
    ("train/neutral/../../../evil.jpg", "outside")])
def test_a_zip_that_leads_out_of_its_folder_is_not_opened(
    member: str, words: str, root: Path, source: Path, tmp_path: Path
) -> None:
    file = zipped(source, tmp_path / "evil.zip", **{member: b"x"})
    said_in_one_line(add(file, "--as", "X"), words)
    assert not list(root.iterdir()) and not (tmp_path / "evil.jpg").exists()


def test_links_and_bombs_in_a_zip_are_refused(root: Path, source: Path, tmp_path: Path) -> None:
    file = zipped(source, tmp_path / "link.zip")
    link = zipfile.ZipInfo("train/neutral/link.jpg")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr(link, "/etc/passwd")
    said_in_one_line(add(file, "--as", "X"), "link.jpg", "is a link")
    bomb = zipped(source, tmp_path / "bomb.zip")
    with zipfile.ZipFile(bomb, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("train/neutral/bomb.jpg", bytes(60_000_000))
    said_in_one_line(add(bomb, "--as", "X"), "bomb.jpg", "unpacks to 60 MB")
    assert not list(root.iterdir())


def test_a_truncated_and_a_damaged_zip_leave_nothing_behind(
    root: Path, source: Path, tmp_path: Path
) -> None:
    file = zipped(source, tmp_path / "cut.zip")
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    said_in_one_line(add(file, "--as", "X"), "not a complete zip")
    spoilt = bytearray(whole)
    spoilt[2000:2100] = bytes(100)
    file.write_bytes(bytes(spoilt))
    said_in_one_line(add(file, "--as", "X"), "is damaged")
    assert [path.name for path in root.iterdir() if not path.name.endswith(".lock")] == []


def test_class_folders_only_need_a_split_and_splits_can_come_one_by_one(
    root: Path, source: Path
) -> None:
    said_in_one_line(add(source / "train", "--as", "MINE"), "--split", "neutral")
    assert add(source / "train", "--as", "MINE", "--split", "train").returncode == 0
    assert add(source / "eval", "--as", "MINE", "--split", "eval").returncode == 0
    assert splits(root, "MINE")["eval"] == 3
    said_in_one_line(add(source / "eval", "--as", "MINE", "--split", "train"),
                     "train exists already", "came from")


def test_links_are_made_only_where_asked_and_possible(
    root: Path, source: Path, tmp_path: Path
) -> None:
    assert add(source, "--as", "L", "--link").returncode == 0
    first = next((root / "L/train/neutral").glob("*.jpg"))
    assert first.is_symlink() and splits(root, "L")["eval"] == 3
    said_in_one_line(add(zipped(source, tmp_path / "a.zip"), "--as", "Z", "--link"), "--link")


def test_a_folder_without_class_folders_says_what_was_found_and_expected(
    root: Path, tmp_path: Path
) -> None:
    (tmp_path / "flat").mkdir()
    Image.new("RGB", (20, 20)).save(tmp_path / "flat/a.jpg")
    said_in_one_line(add(tmp_path / "flat", "--as", "X"), "SPLIT/CLASS", "pictures directly in it")
    (tmp_path / "empty").mkdir()
    said_in_one_line(add(tmp_path / "empty", "--as", "X", "--split", "test"), "no pictures")


def table(folder: Path, *rows: str, header: str = "file,label,identity,mask_type,pose") -> Path:
    """Write a CSV beside the pictures a.jpg, b.jpg, c.jpg, sub/a.jpg, and copy/a.jpg = a.jpg."""
    for number, name in enumerate(("a.jpg", "b.jpg", "c.jpg", "sub/a.jpg", "copy/a.jpg")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((30, 30, 3), 40 * (number % 4), np.uint8)).save(folder / name)
    file = folder / "labels.csv"
    file.write_text("\n".join([header, *rows]) + "\n")
    return file


GOOD = ("a.jpg,negative,Ann,cloth,left", "b.jpg,neutral,Bob,kn95,", "c.jpg,positive,Ann,,")


def test_a_table_gives_labels_people_and_masks(root: Path, tmp_path: Path) -> None:
    done = add(table(tmp_path / "t", *GOOD), "--as", "REAL-FER", "--split", "test")
    assert done.returncode == 0, done.stderr
    data = Data(sets={"real": DataSet(folder="REAL-FER")})
    found = {p.relative: p.identity for p in pictures_of("real/test", data, root)}
    assert found == {"test/negative/a.jpg": "Ann", "test/neutral/b.jpg": "Bob",
                     "test/positive/c.jpg": "Ann"}
    assert (root / "REAL-FER/pictures.csv").read_text().splitlines()[:2] == [
        "file,identity,mask_type,pose", "test/negative/a.jpg,Ann,cloth,left"]


@pytest.mark.parametrize(("rows", "words"), [
    (["a.jpg,furious,,,"], ["labels.csv:2", "furious", "negative, neutral, positive"]),
    (["z.jpg,neutral,,,"], ["labels.csv:2", "no file"]),
    (["a.jpg,neutral,,,", "a.jpg,neutral,,,"], ["labels.csv:3", "line 2"]),
    (["a.jpg,neutral,,,", "a.jpg,positive,,,"], ["labels.csv:3", "line 2"]),
    (["a.jpg,neutral,,,", "sub/a.jpg,neutral,,,"], ["pictures with the same name", "sub/a.jpg"]),
    (["a.jpg,neutral,,,", "copy/a.jpg,positive,,,"], ["a picture in two classes", "copy/a.jpg"]),
    (["labels.csv,neutral,,,"], ["is not a picture"]),
    ([], ["no rows"]),
])
def test_a_bad_row_of_a_table_is_one_line_and_nothing_is_written(
    rows: list[str], words: list[str], root: Path, tmp_path: Path
) -> None:
    said_in_one_line(add(table(tmp_path / "t", *rows), "--as", "X", "--split", "test"), *words)
    assert not list(root.iterdir())


def test_a_table_with_a_wrong_column_encoding_or_split_is_one_line(
    root: Path, tmp_path: Path
) -> None:
    file = table(tmp_path / "t", "a.jpg,neutral", header="picture,label")
    said_in_one_line(add(file, "--as", "X", "--split", "test"), "no column 'file'")
    file = table(tmp_path / "t", "a.jpg,neutral,3", header="file,label,hat")
    said_in_one_line(add(file, "--as", "X", "--split", "test"), "unknown column 'hat'")
    file.write_bytes("file,label\nZoë.jpg,neutral\n".encode("latin-1"))
    said_in_one_line(add(file, "--as", "X", "--split", "test"), "not UTF-8")
    file = table(tmp_path / "t", *GOOD)
    said_in_one_line(add(file, "--as", "X"), "labels.csv:2", "--split")
    said_in_one_line(add(file, "--as", "X", "--split", "holdout"), "holdout", "train")


def test_seven_expressions_become_three_classes(root: Path, tmp_path: Path) -> None:
    for label in ("Angry", "fear", "happy", "neutral", "surprise"):
        place = tmp_path / "seven" / "train" / label
        place.mkdir(parents=True)
        Image.new("RGB", (48, 48)).save(place / f"{label}_One_0001.png")
    done = add(tmp_path / "seven", "--as", "SEVEN", "--labels", "fer7")
    assert done.returncode == 0, done.stderr
    assert "(2 negative, 1 neutral, 1 positive)" in done.stdout
    said_in_one_line(add(tmp_path / "seven", "--as", "S2"), "'Angry'", "--labels")
    (tmp_path / "map.yaml").write_text("classes: {angry: cross}\n")
    said_in_one_line(add(tmp_path / "seven", "--as", "S2", "--labels", tmp_path / "map.yaml"),
                     "angry: cross", "drop")


def test_the_pixels_of_fer2013_come_in_with_its_splits(root: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    lines = ["emotion,pixels,Usage"]
    pictures = []
    for emotion, usage in ((0, "Training"), (3, "Training"), (6, "Training"), (6, "PrivateTest"),
                           (4, "PublicTest"), (5, "Training")):
        pictures.append(rng.integers(0, 256, (48, 48)))
        lines.append(f"{emotion},{' '.join(map(str, pictures[-1].ravel()))},{usage}")
    file = tmp_path / "fer2013.csv"
    file.write_text("\n".join(lines) + "\n")
    done = add(file, "--as", "FER2013", "--labels", "fer2013")
    assert done.returncode == 0, done.stderr
    stored = Image.open(root / "FER2013/train/positive/000002.png")
    assert stored.mode == "L" and np.array_equal(np.asarray(stored), pictures[1])
    assert len(list((root / "FER2013/train").rglob("*.png"))) == 3  # surprise is left out
    assert len(list((root / "FER2013/val").rglob("*.png"))) == 1
    file.write_text("emotion,pixels\n0,1 2 300 4\n")
    said_in_one_line(add(file, "--as", "P", "--labels", "fer2013", "--split", "train"),
                     "fer2013.csv:2", "0...255")
    file.write_text("emotion,pixels\n0,1 2 3\n")
    said_in_one_line(add(file, "--as", "P", "--labels", "fer2013", "--split", "train"),
                     "3 pixels do not form a square")


def test_no_room_is_said_before_anything_is_written(
    root: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from collections import namedtuple

    from fer.data.ingest import dataset_writer as incoming
    from fer.data.ingest.add import AddRequest
    from fer.data.ingest.add import add as add_here
    from fer.errors import CallerError

    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(incoming.shutil, "disk_usage", lambda place: usage(1, 1, 1000))
    with pytest.raises(CallerError, match=r"not enough disk space for .*MINE"):
        add_here(AddRequest(source, "MINE"), root)
    assert [path.name for path in root.iterdir() if not path.name.endswith(".lock")] == []


def test_an_interrupted_add_leaves_nothing_half_there_and_the_next_one_ends_it(
    root: Path, tmp_path: Path
) -> None:
    for name in CLASSES:
        place = tmp_path / "many/train" / name
        place.mkdir(parents=True)
        for number in range(1500):
            (place / f"A_{name}{number}_0001.jpg").write_bytes(JPEG + os.urandom(2000))
    command = [sys.executable, str(REPOSITORY / "launch/data.py"), "add", str(tmp_path / "many"),
               "--as", "MANY"]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not list(root.glob(".MANY.tmp-*/train/negative/*5_0001.jpg")):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (root / "MANY").exists()
    done = add(tmp_path / "many", "--as", "MANY")
    assert done.returncode == 0, done.stderr
    assert len(list((root / "MANY/train").rglob("*.jpg"))) == 4500
    assert not list(root.glob(".MANY.tmp-*"))
    record = json.loads((root / "MANY/train/.added.json").read_text())
    assert record["pictures"] == 4500


def test_a_damaged_split_keeps_the_others_of_its_archive_away_too(
    root: Path, source: Path, tmp_path: Path
) -> None:
    write_toy_set(tmp_path / "more", "test", people=1, first=50)
    assert add(tmp_path / "more", "--as", "X").returncode == 0
    file = zipped(source, tmp_path / "a.zip")
    spoilt = bytearray(file.read_bytes())
    at = spoilt.rindex(b"PK\x03\x04") + 500  # in the last picture
    spoilt[at : at + 50] = bytes(50)
    file.write_bytes(bytes(spoilt))
    said_in_one_line(add(file, "--as", "X"), "is damaged")
    assert sorted(path.name for path in (root / "X").iterdir()) == ["dataset.json", "test"]


def test_a_set_that_was_unzipped_by_hand_is_not_added_to(root: Path, source: Path) -> None:
    write_toy_set(root / "HAND", "Train", people=1)
    said_in_one_line(add(source, "--as", "HAND"), "was not created by this command", "Train")
    write_toy_set(root / "NEST/NEST", "train", people=1)
    said_in_one_line(add(source, "--as", "NEST"), "was not created by this command")


def test_other_content_of_one_size_is_not_taken_for_what_is_there(
    root: Path, tmp_path: Path
) -> None:
    file = tmp_path / "p.csv"
    for value, code in ((7, 0), (9, 2)):
        file.write_text('"emotion","pixels"\n' + "".join(
            f'"{label}","{" ".join([str(value)] * 256)}"\n' for label in (0, 3, 6)))
        done = add(file, "--as", "P", "--labels", "fer2013", "--split", "train")
        assert done.returncode == code, done.stderr
    assert "exists already" in done.stderr


def test_people_of_a_split_that_was_removed_are_forgotten(root: Path, tmp_path: Path) -> None:
    import shutil

    file = table(tmp_path / "t", *GOOD)
    assert add(file, "--as", "R", "--split", "test").returncode == 0
    write_toy_set(tmp_path / "more", "eval", people=1)
    assert add(tmp_path / "more", "--as", "R").returncode == 0
    assert "Ann" in (root / "R/pictures.csv").read_text()
    shutil.rmtree(root / "R/test")
    file = table(tmp_path / "t", *("".join(f"{row.split(',')[0]},{row.split(',')[1]},,,")
                                   for row in GOOD))
    assert add(file, "--as", "R", "--split", "test").returncode == 0
    assert not (root / "R/pictures.csv").exists()


def test_large_pixel_rows_and_names_that_lead_out_of_the_data_are_handled(
    root: Path, source: Path, tmp_path: Path
) -> None:
    file = tmp_path / "big.csv"
    file.write_text("emotion,pixels\n" + "".join(
        f"{label},{' '.join(['100'] * 224 * 224)}\n" for label in (0, 3, 6)))
    done = add(file, "--as", "BIG", "--labels", "fer2013", "--split", "train")
    assert done.returncode == 0, done.stderr
    for name in ("../out", "/tmp/out", "."):
        said_in_one_line(add(source, "--as", name), "below FER_DATA")
