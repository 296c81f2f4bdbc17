"""Who is in the pictures: known or unknown, and never guessed."""

import json
import shutil
from hashlib import blake2b
from pathlib import Path

import numpy as np
import pytest
from conftest import CLASSES
from picture_sets import data_of, smooth, write_set
from xxhash import xxh3_128_hexdigest

from fer.config.run import Data, DataSet
from fer.data.digest import split_digest
from fer.data.ingest.add import AddRequest, add
from fer.data.layout import Picture, scan
from fer.data.metadata import read_people
from fer.data.pack_builder import build_pack
from fer.data.paired_batches import partners_in
from fer.data.people import follow_lfw, pair_key_of, person_of
from fer.data.pixels import Source
from fer.data.splits import pictures_of
from fer.data.verify.verify import lines, pictures_on_disk, verify
from fer.errors import CallerError

UNKNOWN = "is unknown: each picture counts as a person of its own, so intervals are too narrow"


def write(folder: Path, names: list[str], split: str = "train") -> Path:
    """Write different pictures of these names, dealt to the classes in turn."""
    for number, name in enumerate(names):
        file = folder / split / CLASSES[number % 3] / name
        file.parent.mkdir(parents=True, exist_ok=True)
        smooth(1000 + number, 24).save(file)
    return folder


def write_own(folder: Path, name: str = "IMG_{:04}.jpg", count: int = 60, split: str = "train"
              ) -> Path:
    return write(folder, [name.format(number) for number in range(count)], split)


@pytest.mark.parametrize(("file", "person", "pair_key"), [
    ("Ada_Lovelace_0012.jpg", "Ada_Lovelace", "Ada_Lovelace_0012"),
    ("portrait.png", "", "portrait"), ("A_12.jpg", "", "A_12"),
    ("A_B_0001_0002.jpg", "A_B_0001", "A_B_0001_0002"),
    ("Ada_Bababar_0001_surgical.jpg", "Ada_Bababar", "Ada_Bababar_0001"),
    ("Ada_Bababar_0001_N95.jpg", "Ada_Bababar", "Ada_Bababar_0001"),
    ("Ada_Bababar_0001-masked.png", "Ada_Bababar", "Ada_Bababar_0001"),
    ("Ada_Bababar_0001_Mask.png", "Ada_Bababar", "Ada_Bababar_0001"),
    ("Ada_Bababar_0001_cloth_2.jpg", "Ada_Bababar", "Ada_Bababar_0001"),
    ("Ada_Bababar_0001 (1).jpg", "Ada_Bababar", "Ada_Bababar_0001"),
    ("img12_surgical_blue.jpg", "", "img12"), ("img12_with_mask.jpg", "", "img12"),
    ("img12_KN95.jpg", "", "img12"), ("damask.jpg", "", "damask"), ("mask.jpg", "", "mask")])
def test_text_after_the_number_of_a_name_is_understood(
    file: str, person: str, pair_key: str
) -> None:
    assert (person_of(file), pair_key_of(file)) == (person, pair_key)


@pytest.mark.parametrize("names", [
    ["Ada_Bababar_0001.jpg", "Ada_Bababar_0002.jpg"], ["Toy_Person003_0001.jpg"],
    ["Abdullah_al-Attiyah_0001.jpg", "Madonna_0003.jpg", "Jean-Claude_Juncker_0001.jpg"],
    ["Val_Ackerman_0001.jpg"], ["José_García_0001.jpg"], ["Mary_J_Blige_0001.jpg"],
    ["Ada_Bababar_0001_surgical.jpg", "Bo_Babo_0001_surgical.jpg"]])
def test_lfws_names_are_known_people(names: list[str]) -> None:
    assert follow_lfw(names, 3)


@pytest.mark.parametrize("names", [
    ["IMG_0001.jpg", "IMG_0002.jpg"], ["DSC_0001.jpg"], ["photo_1.jpg", "photo_135.jpg"],
    ["Training_1234.jpg", "PrivateTest_1234.jpg"], ["im0.jpg"], ["0001.jpg"], ["happy_0001.jpg"],
    ["Happy_Face_0001.jpg", "Sad_Face_0001.jpg"], ["Test_Image_0001.jpg"],
    ["Screenshot_2021-06-01_0001.jpg"], ["IMG_20230101_0001.jpg"], ["Camera_B_0001.jpg"],
    ["Anna_0001.jpg", "Bert_0001.jpg"], ["田中_0001.jpg"], ["_0001.jpg"], ["a_b_0001.jpg"],
    ["Ada_Bababar_0001.jpg", "IMG_0002.jpg"], ["Ada_Bababar_0001.jpg", "me.jpg"],
    ["Ada_Bababar_1.jpg"], [f"My_Pictures_{number:04}.jpg" for number in range(60)]])
def test_other_names_are_nobody(names: list[str]) -> None:
    assert not follow_lfw(names, 3)


@pytest.mark.parametrize("name", [
    "IMG_{:04}.jpg", "photo_{}.jpg", "Training_{:04}.jpg", "My_Faces_{:04}.jpg"])
def test_people_of_own_pictures_are_unknown_when_added_and_in_place(
    name: str, tmp_path: Path
) -> None:
    source = write_own(tmp_path / "source", name)
    said = "\n".join(add(AddRequest(source, "OWN"), tmp_path / "data"))
    assert "OWN/train: unknown people; --people says" in said and "OWN/train: who is in" in said
    assert read_people(tmp_path / "data/OWN") == {"train": "unknown"}
    for folder in (source, tmp_path / "data/OWN"):
        pictures = scan("own", folder, CLASSES)["train"]
        assert {picture.identity for picture in pictures} == {""}
        assert len({picture.unit for picture in pictures}) == 60


def test_lfws_names_are_recorded_as_such(tmp_path: Path) -> None:
    said = add(AddRequest(write_set(tmp_path / "s", {"train": 8}), "L"), tmp_path / "data")
    assert read_people(tmp_path / "data/L") == {"train": "names"}
    assert "L/train: 6 people" in said and not [line for line in said if "unknown" in line]


def test_one_kind_of_name_in_a_split_decides_for_that_split_only(tmp_path: Path) -> None:
    write_set(tmp_path / "s", {"train": 8})
    write_own(tmp_path / "s", split="test")
    found = scan("s", tmp_path / "s", CLASSES)
    assert all(p.identity for p in found["train"]) and not any(p.identity for p in found["test"])


def test_a_hand_written_rule_holds_for_a_set_in_place(tmp_path: Path) -> None:
    folder = write_set(tmp_path / "s", {"train": 8})
    (folder / "dataset.json").write_text('{"people": {"train": "unknown"}}')
    assert not any(p.identity for p in scan("s", folder, CLASSES)["train"])
    for text, words in (('{"people": {"train": "guess"}}', "train: guess.*names, table, unknown"),
                        ('{"persons": {}}', "dataset.json"), ("{", "not valid JSON")):
        (folder / "dataset.json").write_text(text)
        with pytest.raises(CallerError, match=words):
            scan("s", folder, CLASSES)


def test_rows_of_a_table_without_a_person_are_unknown(tmp_path: Path) -> None:
    folder = write_own(tmp_path / "s", split="test")
    (folder / "pictures.csv").write_text("file,identity\ntest/negative/IMG_0000.jpg,Ann\n")
    pictures = scan("s", folder, CLASSES)["test"]
    assert [p.identity for p in pictures if p.identity] == ["Ann"]
    data = Data(sets={"s": DataSet(folder="s")})
    said = lines(data, tmp_path, pictures_on_disk(data, tmp_path)[0])
    assert "1 person and 59 pictures of unknown people" in said[0]
    assert "who is in 59 of 60 pictures is unknown" in said[1]


def test_list_and_verify_say_that_people_are_unknown_and_find_no_false_overlap(
    tmp_path: Path
) -> None:
    write_own(tmp_path / "own")
    write_own(tmp_path / "own", split="eval")  # equal names: im0.jpg of another folder
    data = Data(sets={"own": DataSet(folder="own")})
    verdict = verify(data, tmp_path)
    said = "\n".join(lines(data, tmp_path, verdict.splits))
    assert f"own/eval: who is in the pictures {UNKNOWN}" in said
    assert "own/train: who is in the pictures is unknown: one person may be in both" in said
    assert "people in two splits" not in {finding.kind for finding in verdict.findings}


def test_validation_of_unknown_people_is_a_random_tenth_of_each_class(tmp_path: Path) -> None:
    write_own(tmp_path / "own", "im{}.jpg", 300)
    data = Data(sets={"own": DataSet(folder="own")})
    val, train = (pictures_of(f"own/{part}", data, tmp_path) for part in ("val", "train"))
    assert [sum(p.label == label for p in val) for label in range(3)] == [10, 10, 10]
    assert len(train) == 270 and not {p.id for p in val} & {p.id for p in train}


def test_a_masked_copy_of_unknown_people_is_validated_on_the_same_pictures(tmp_path: Path) -> None:
    write_own(tmp_path / "own", "photo_{}.jpg")
    for text, folder in (("", "same"), ("_surgical", "tool")):
        write_own(tmp_path / folder, "photo_{}" + text + ".jpg")
        data = data_of(own="own", copy=folder)
        val = {p.place for p in pictures_of("own/val", data, tmp_path)}
        assert {p.place for p in pictures_of("copy/val", data, tmp_path)} == val != set()
        assert not {p.place for p in pictures_of("copy/train", data, tmp_path)} & val


def test_known_people_leave_the_digest_as_it_was_and_unknown_people_change_it(
    tmp_path: Path
) -> None:
    def digest(relative: str, identity: str) -> str:
        return split_digest([Picture("s", "train", relative, tmp_path / "x", 1, identity)])

    (tmp_path / "x").write_bytes(b"a picture")
    line = f"train/neutral/Ada_B_0001.jpg\x001\x00{xxh3_128_hexdigest(b'a picture')}"
    before = blake2b(line.encode(), digest_size=16).hexdigest()  # since the first run ids
    assert digest("train/neutral/Ada_B_0001.jpg", "Ada_B") == before
    unknown = digest("train/neutral/Ada_B_0001.jpg", "")
    assert unknown not in (before, digest("train/neutral/Ada_B_0001.jpg", "Ann"))


@pytest.mark.parametrize("text", ["_surgical", "_Mask", "_N95", "-masked", "_cloth_2"])
def test_a_copy_by_a_masking_tool_shares_people_and_pairs(text: str, tmp_path: Path) -> None:
    write_set(tmp_path / "lfw", {"train": 40}, people=2)
    shutil.copytree(tmp_path / "lfw", tmp_path / "mlfw")
    for file in (tmp_path / "mlfw").rglob("*.jpg"):
        file.rename(file.with_name(f"{file.stem}{text}.jpg"))
    data = data_of(lfw="lfw", mlfw="mlfw")
    val = {p.identity for p in pictures_of("lfw/val", data, tmp_path)}
    assert {p.identity for p in pictures_of("mlfw/val", data, tmp_path)} == val
    assert not {p.identity for p in pictures_of("mlfw/train", data, tmp_path)} & val
    packs = [Source([build_pack(pictures_of(f"{name}/train", data, tmp_path), CLASSES, 16,
                                tmp_path / f"{name}.pack", "0" * 32, 1)])
             for name in ("lfw", "mlfw")]
    assert np.array_equal(partners_in(*packs), np.arange(packs[0].n))


def test_a_copy_whose_names_are_not_the_originals_is_refused(tmp_path: Path) -> None:
    write_set(tmp_path / "lfw", {"train": 8})
    write_own(tmp_path / "other")
    data = data_of(lfw="lfw", other="other")
    for split in ("lfw/train", "lfw/val", "other/train"):
        with pytest.raises(CallerError, match=r"other\.twin_of: 0 of 60 .*original of the same"):
            pictures_of(split, data, tmp_path)


def test_people_known_in_a_set_and_unknown_in_its_copy_are_refused(tmp_path: Path) -> None:
    write_set(tmp_path / "lfw", {"train": 8})
    shutil.copytree(tmp_path / "lfw", tmp_path / "mlfw")
    (tmp_path / "mlfw/dataset.json").write_text('{"people": {"train": "unknown"}}')
    with pytest.raises(CallerError, match=r"an unknown person in 'mlfw'|'mlfw'; give both"):
        pictures_of("lfw/train", data_of(lfw="lfw", mlfw="mlfw"), tmp_path)


@pytest.mark.parametrize("how", [r"^(\w+?)-", r"(?P<person>\w+)-\d+", r"^[a-z]+"])
def test_a_pattern_says_who_is_who(how: str, tmp_path: Path) -> None:
    source = write(tmp_path / "s", [f"{who}-{number}.jpg" for who in ("ann", "bob", "cyd")
                                    for number in range(6)])
    said = add(AddRequest(source, "P", people=how), tmp_path / "data")
    assert "P/train: 3 people" in said
    found = {p.identity for p in scan("p", tmp_path / "data/P", CLASSES)["train"]}
    assert found == {"ann", "bob", "cyd"}
    assert "already present" in "".join(add(AddRequest(source, "P", people=how),
                                            tmp_path / "data"))


@pytest.mark.parametrize(("how", "words"), [
    ("(", "nor a regular expression"), ("name", "no person in the file name of .*IMG_0000"),
    ("(x)?", "no person"), ("names", None), ("unknown", None)])
def test_what_was_said_of_people_is_checked(how: str, words: str | None, tmp_path: Path) -> None:
    source = write_own(tmp_path / "s")
    if words:
        with pytest.raises(CallerError, match=words):
            add(AddRequest(source, "P", people=how), tmp_path / "data")
        assert not (tmp_path / "data/P").exists()
        return
    add(AddRequest(source, "P", people=how), tmp_path / "data")
    assert read_people(tmp_path / "data/P") == {"train": how}


@pytest.mark.parametrize("order", ["{cls}/{who}", "{who}/{cls}"])
def test_a_folder_a_person_below_or_above_the_class(order: str, tmp_path: Path) -> None:
    for number, who in enumerate(("ann", "bob", "cyd", "dan")):
        for cls in CLASSES:
            file = tmp_path / "s/train" / order.format(cls=cls, who=who) / "1.jpg"
            file.parent.mkdir(parents=True)
            smooth(number * 7 + CLASSES.index(cls), 24).save(file)
    said = add(AddRequest(tmp_path / "s", "F", people="folder"), tmp_path / "data")
    assert "F/train: 4 people" in said
    found = {(p.relative, p.identity) for p in scan("f", tmp_path / "data/F", CLASSES)["train"]}
    assert ("train/neutral/ann_1.jpg", "ann") in found and len(found) == 12


def test_equal_names_in_several_classes_are_fine_where_the_contents_differ(tmp_path: Path) -> None:
    for number, cls in enumerate(CLASSES):
        (tmp_path / "s/train" / cls).mkdir(parents=True)
        smooth(number, 24).save(tmp_path / "s/train" / cls / "im0.jpg")
    add(AddRequest(tmp_path / "s", "S"), tmp_path / "data")
    assert len(scan("s", tmp_path / "data/S", CLASSES)["train"]) == 3
    shutil.copy(tmp_path / "s/train/neutral/im0.jpg", tmp_path / "s/train/positive/im0.jpg")
    with pytest.raises(CallerError, match="a picture in two classes of train"):
        add(AddRequest(tmp_path / "s", "T"), tmp_path / "data")


def test_a_second_split_keeps_the_rule_of_the_first(tmp_path: Path) -> None:
    add(AddRequest(write_set(tmp_path / "a", {"train": 4}), "S"), tmp_path / "data")
    add(AddRequest(write_own(tmp_path / "b", split="test"), "S"), tmp_path / "data")
    assert json.loads((tmp_path / "data/S/dataset.json").read_text()) == {
        "people": {"test": "unknown", "train": "names"}}

