"""`launch/data.py verify` and `list`: every planted fault is found, and nothing in a good set."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import launch
from picture_sets import CLASSES, smooth
from PIL import Image
from test_mistakes import said_in_one_line

from fer.config.run import Data, DataSet
from fer.data.faces import detector
from fer.data.ingest.archive import EXPECTED
from fer.data.layout import Picture
from fer.data.pack import ensure_pack
from fer.data.verify import findings as check
from fer.data.verify.findings import Finding
from fer.data.verify.inspection import inspect_pictures
from fer.data.verify.verify import Verdict, page, verify

DATA = Data(sets={"lfw": DataSet(folder="LFW"), "mlfw": DataSet(folder="MLFW", twin_of="lfw"),
                  "real": DataSet(folder="REAL")})


def write(path: Path, seed: int, masked: bool = False) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = smooth(seed, side=64)
    if masked:
        picture.paste((240, 240, 240), (0, 40, 64, 64))
    picture.save(path, quality=92)


@pytest.fixture(autouse=True)
def without_detector(monkeypatch: pytest.MonkeyPatch) -> None:
    """Framing is tested in `test_framing.py`; these pictures have no faces."""
    monkeypatch.setattr(detector, "is_available", lambda: False)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Twins lfw and mlfw with train and eval, and real/test: nothing wrong with them."""
    number = 0
    for split, people in (("train", 8), ("eval", 4)):
        for cls in CLASSES:
            for person in range(people):
                number += 1
                name = f"{split}/{cls}/{split.title()}{cls.title()}_P{person}_0001.jpg"
                write(tmp_path / "LFW" / name, number)
                write(tmp_path / "MLFW" / name, number, masked=True)
    for cls in CLASSES:
        for person in range(4):
            number += 1
            write(tmp_path / f"REAL/test/{cls}/Real{cls.title()}_P{person}_0001.jpg", number, True)
    return tmp_path


def found(root: Path) -> dict[str, Finding]:
    verdict = verify(DATA, root)
    assert len({(one.kind, one.where) for one in verdict.findings}) == len(verdict.findings)
    return {one.kind: one for one in verdict.findings}


def first(folder: Path) -> Path:
    return sorted(folder.iterdir())[0]


def test_nothing_is_found_in_good_sets(root: Path) -> None:
    verdict = verify(DATA, root)
    assert verdict == Verdict(DATA.classes, verdict.splits, ())
    assert {name: len(pictures) for name, pictures in verdict.splits.items()} == {
        "lfw/eval": 12, "lfw/train": 24, "mlfw/eval": 12, "mlfw/train": 24, "real/test": 12}


def copy_to_eval(root: Path) -> str:
    shutil.copy(first(root / "LFW/train/neutral"), root / "LFW/eval/neutral/Other_P_0001.jpg")
    return "equal pictures"


def resave_in_eval(root: Path) -> str:
    picture = Image.open(first(root / "LFW/train/neutral")).resize((90, 90))
    picture.save(root / "LFW/eval/neutral/Other_P_0001.jpg", quality=60)
    return "alike pictures"


def person_in_both(root: Path) -> str:
    name = first(root / "LFW/train/neutral").name.replace("_0001", "_0002")
    write(root / "LFW/eval/neutral" / name, 900)
    write(root / "MLFW/eval/neutral" / name, 900, True)
    return "people in two splits"


def two_labels(root: Path) -> str:
    shutil.copy(first(root / "REAL/test/neutral"), root / "REAL/test/positive/Again_0001.jpg")
    return "equal pictures"


def other_label_of_twin(root: Path) -> str:
    path = first(root / "MLFW/eval/neutral")
    path.rename(root / "MLFW/eval/positive" / path.name)
    return "other label"


def resave_under_its_own_name(root: Path) -> str:
    path = first(root / "LFW/train/neutral")
    Image.open(path).save(root / "REAL/test/neutral" / path.name, quality=60)
    return "alike pictures"


def resave_with_another_label(root: Path) -> str:
    Image.open(first(root / "REAL/test/neutral")).save(
        root / "REAL/test/positive/Again_0001.jpg", quality=60)
    return "alike pictures"


@pytest.mark.parametrize("plant", [copy_to_eval, resave_in_eval, resave_under_its_own_name,
                                   resave_with_another_label, person_in_both, two_labels,
                                   other_label_of_twin])
def test_what_would_mislead_is_found_and_is_grave(
    plant: Callable[[Path], str], root: Path
) -> None:
    kind = plant(root)
    one = found(root)[kind]
    assert one.grave and one.examples, one


def test_a_person_in_train_of_one_twin_and_eval_of_the_other_is_found(root: Path) -> None:
    person_in_both(root)
    where = {one.where for one in verify(DATA, root).findings if one.grave}
    assert where >= {"lfw/train and lfw/eval", "lfw/train and mlfw/eval",
                     "mlfw/train and lfw/eval", "mlfw/train and mlfw/eval"}


def spoil(root: Path) -> str:
    paths = sorted((root / "LFW/train/positive").iterdir())
    paths[0].write_bytes(b"")
    paths[1].write_bytes(paths[1].read_bytes()[:300])
    paths[2].write_text("hello")
    Image.new("RGB", (9, 9)).save(paths[3])
    return "damaged"


def misname(root: Path) -> str:
    path = first(root / "LFW/train/positive")
    Image.open(path).save(path.with_suffix(".x"), format="PNG")
    path.with_suffix(".x").rename(path)
    return "other format"


def lose_a_twin(root: Path) -> str:
    first(root / "MLFW/train/positive").unlink()
    return "no twin"


def lose_an_original(root: Path) -> str:
    first(root / "LFW/train/positive").unlink()
    return "no original"


@pytest.mark.parametrize(("plant", "count"), [
    (spoil, 4), (misname, 1), (lose_a_twin, 1), (lose_an_original, 1)])
def test_what_is_good_to_know_is_found_and_counted(
    plant: Callable[[Path], str], count: int, root: Path
) -> None:
    kind = plant(root)
    one = found(root)[kind]
    assert not one.grave and one.count == count and len(one.examples) == count
    if kind == "damaged":
        assert {line.split(": ")[1] for line in one.examples} == {
            "empty file", "truncated", "not an image", "smaller than 16 pixels"}


def test_blank_missing_and_empty_pictures_are_no_duplicates(root: Path) -> None:
    for split in ("train", "eval"):
        for number in range(3):
            name = f"{split}/neutral/Blank{split}{number}_0001.jpg"
            for folder in ("LFW", "MLFW"):
                Image.new("RGB", (64, 64), (number * 9, 50, len(split) * 20)).save(
                    root / folder / name)
            empty = f"{split}/neutral/Empty{split}_0001.jpg"
            for folder in ("LFW", "MLFW"):
                (root / folder / empty).write_bytes(b"")
    (root / "REAL/test/neutral/Gone_0001.jpg").symlink_to(root / "nowhere.jpg")
    verdict = verify(DATA, root)
    assert "alike pictures" not in {one.kind for one in verdict.findings}
    damaged = {line for one in verdict.findings if one.kind == "damaged" for line in one.examples}
    assert "real/test/neutral/Gone_0001.jpg: missing: a link to nothing" in damaged
    equal = [line for one in verdict.findings if one.kind == "equal pictures"
             for line in one.examples]
    assert equal and not any("Empty" in line for line in equal)  # the blank twins, which are equal
    assert page(verdict)  # also of pictures that cannot be shown


def test_other_counts_than_the_published_ones_are_said() -> None:
    picture = Picture("lfw", "train", "train/neutral/A_0001.jpg", Path("x"), 1, "A")
    (one,) = check.counts({"lfw/train": [picture]}, CLASSES, {"lfw": EXPECTED["LFW-FER"]})
    assert "1 neutral" in one.text and "768 negative" in one.text and not one.grave
    right = [Picture("lfw", "train", f"train/{cls}/A_{n}.jpg", Path("x"), label, "A")
             for label, cls in enumerate(CLASSES)
             for n in range(EXPECTED["LFW-FER"]["train"][cls])]  # type: ignore[index]
    assert check.counts({"lfw/train": right}, CLASSES, {"lfw": EXPECTED["LFW-FER"]}) == []


def test_many_pictures_are_looked_at_by_several_processes_with_the_same_result(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures = [p for found in verify(DATA, root).splits.values() for p in found]
    alone = inspect_pictures(pictures)
    monkeypatch.setattr("fer.data.verify.inspection.MANY", 1)
    monkeypatch.setattr("fer.data.verify.inspection.JOB_PICTURES", 10)
    counts: list[tuple[int, int]] = []
    together = inspect_pictures(pictures, lambda done, total: counts.append((done, total)))
    assert together.digests == alone.digests and np.array_equal(together.prints, alone.prints)
    assert counts[-1] == (len(pictures), len(pictures))


def test_the_script_prints_what_it_found_and_writes_a_page_with_pictures(
    root: Path, tmp_path: Path
) -> None:
    config = tmp_path / "mine.yaml"
    config.write_text("data: {sets: {lfw: {folder: LFW}, mlfw: {folder: MLFW, twin_of: lfw}}}\n")
    page = tmp_path / "page.html"
    arguments = ("--config", config, "--out", page)
    done = launch("data", "verify", *arguments, FER_DATA=str(root))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "lfw/train: 24 pictures (8 negative, 8 neutral, 8 positive) of 24 people" in done.stdout
    assert page.read_text().count("data:image/jpeg;base64") == 84  # all of these small sets
    copy_to_eval(root)
    done = launch("data", "verify", *arguments, FER_DATA=str(root))
    assert done.returncode == 1
    assert "WRONG equal pictures: lfw/eval and lfw/train: 1 picture" in done.stdout
    assert "equal pictures" in page.read_text()


def test_sets_are_listed_with_where_they_came_from(root: Path) -> None:
    assert launch("data", "add", root / "REAL", "--as", "COPY", FER_DATA=str(root)).returncode == 0
    done = launch("data", "list", "COPY", "LFW", FER_DATA=str(root))
    assert done.returncode == 0, done.stderr
    assert f"from {root / 'REAL'}" in done.stdout and "LFW/eval: 12 pictures" in done.stdout
    said_in_one_line(launch("data", "list", "NONE", FER_DATA=str(root)), "NONE", "LFW", "COPY")
    shutil.copytree(root / "REAL", root / "drawn/REAL-FER")
    (root / "drawn/drawn.json").touch()  # those are the project's own, several sets in one folder
    everything = launch("data", "list", FER_DATA=str(root), FER_CACHE=str(root / ".none"))
    assert {line.split("/")[0] for line in everything.stdout.splitlines()} == {
        "LFW", "MLFW", "REAL", "COPY"}
    (root / "none").mkdir()
    said_in_one_line(launch("data", "list", FER_DATA=str(root / "none")), "data.py add")


def test_list_names_packs_of_pictures_that_changed_or_went(root: Path) -> None:
    cache = root / ".cache"
    packs = {split: ensure_pack(split, DATA, root, 32, cache) for split in
             ("lfw/eval", "mlfw/eval", "real/test")}
    asked = {"FER_DATA": str(root), "FER_CACHE": str(cache)}
    quiet = launch("data", "list", **asked).stdout
    assert f"packs: 3 of 0.00 GB in {cache}/packs" in quiet and "changed or removed" not in quiet
    next((root / "LFW/eval").rglob("*.jpg")).unlink()
    write(next((root / "MLFW/eval").rglob("*.jpg")), seed=999)
    said = launch("data", "list", **asked).stdout.splitlines()[-1]
    assert "changed or removed: 2 of" in said and str(packs["real/test"].folder) not in said
    assert str(packs["lfw/eval"].folder) in said and str(packs["mlfw/eval"].folder) in said


def test_masked_pictures_of_one_person_are_no_copies_but_a_saved_one_is(root: Path) -> None:
    rng = np.random.default_rng(3)
    face = rng.integers(0, 256, (8, 8)).astype(np.uint8)
    pixels = np.asarray(Image.fromarray(face).resize((96, 96), Image.Resampling.BICUBIC)).copy()
    pixels[48:] = 235  # the mask
    brows = pixels.copy()
    brows[20:28, 20:76] = np.clip(brows[20:28, 20:76].astype(int) + 60, 0, 255)
    for cls, content in (("neutral", pixels), ("positive", brows)):
        Image.fromarray(content).save(root / f"REAL/test/{cls}/Masked_P_000{len(cls)}.png")
    assert "alike pictures" not in found(root)
    Image.fromarray(pixels).resize((60, 60)).save(root / "REAL/test/positive/Masked_P_0009.png")
    assert found(root)["alike pictures"].count == 1


def test_people_of_one_name_in_unrelated_sets_are_no_grave_finding(root: Path) -> None:
    name = first(root / "LFW/train/neutral").name
    write(root / "REAL/test/neutral" / name, 900)
    one = found(root)["equal names"]
    assert one.where.endswith("lfw/train and real/test") and not one.grave and one.count == 1
