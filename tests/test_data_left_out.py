"""Nothing of a source is dropped in silence: taken and left out are all of its files."""

import importlib.util
import io
import os
import tempfile
import zipfile
from importlib.util import find_spec
from pathlib import Path

import pytest
from conftest import CLASSES
from hypothesis import event, example, given, settings
from hypothesis import strategies as st
from picture_sets import smooth, write_set
from PIL import features

from fer.config.run import Data, DataSet
from fer.data.decode import decode
from fer.data.ingest.add import AddRequest, _read, add
from fer.data.ingest.dataset_writer import Incoming
from fer.data.layout import scan
from fer.data.picture_format import HEAD, format_of
from fer.data.splits import pictures_of
from fer.data.verify.verify import lines, pictures_on_disk
from fer.errors import CallerError


def encoded(kind: str, seed: int = 0) -> bytes:
    stream = io.BytesIO()
    smooth(seed, 24).save(stream, kind)
    return stream.getvalue()


CONTENTS = {
    "jpeg": encoded("JPEG"), "png": encoded("PNG"), "bmp": encoded("BMP"), "webp": encoded("WEBP"),
    "tiff": encoded("TIFF"), "gif": encoded("GIF"), "cut": encoded("JPEG")[:300], "empty": b"",
    "text": b"BMW, II* and MM", "heic": b"\0\0\0\x18ftypheic" + bytes(40),
    "video": b"\0\0\0\x18ftypisom" + bytes(40), "zeros": bytes(100)}
PICTURES = {"jpeg", "png", "bmp", "webp", "tiff", "gif", "cut",
            *(["heic"] if find_spec("pillow_heif") else [])}
FOLDERS = st.sampled_from(["train", "validation", "masked", "negative", "surprise", ".git",
                           "__MACOSX", "sub"])
NAMES = st.builds("".join, st.tuples(
    st.sampled_from(["a", "B_C_0001", "IMG_0002", ".hidden", "Thumbs", "ソ"]),
    st.sampled_from([".jpg", ".JPG", ".jfif", ".tif", ".txt", "", ".db", ".heic", ".png"])))
PLACED = st.tuples(st.sampled_from(["train", "Test", "dev"]),
                   st.sampled_from(["negative", "Neutral", "positive"]), NAMES)
ANYWHERE = st.tuples(st.lists(FOLDERS, max_size=3).map(tuple), NAMES).map(
    lambda at: (*at[0], at[1]))
ALWAYS = {("train", "negative", "z.jpg"): "jpeg"}
TREES = st.builds(lambda some, more: {**ALWAYS, **some, **more},
                  st.dictionaries(PLACED, st.sampled_from(sorted(CONTENTS)), max_size=12),
                  st.dictionaries(ANYWHERE, st.sampled_from(sorted(CONTENTS)), max_size=2))


def write_tree(folder: Path, tree: dict[tuple[str, ...], str]) -> dict[str, str]:
    """Write files where no folder has their name; returns path -> content."""
    written = {}
    for parts, content in tree.items():
        file = folder.joinpath(*parts)
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(CONTENTS[content])
        except OSError:  # a folder of that name, or a file where a folder would be
            continue
        written["/".join(parts)] = content
    return written


def read(request: AddRequest) -> Incoming | None:
    """Return what would come in, or None after a refusal in one line."""
    try:
        return _read(request)[0]
    except CallerError as error:
        assert "\n" not in str(error)
        return None


@settings(max_examples=100)
@example({**ALWAYS, ("train", "validation", "train", "a.jpg"): "bmp"}, False, "", "",
         "masked=test,validation=drop")  # a dropped folder inside a split
@given(TREES, st.booleans(), st.sampled_from(["", "", "test"]), st.sampled_from(["", "fer7"]),
       st.sampled_from(["", "masked=test,validation=drop", "masked=drop,sub=drop"]))
def test_taken_and_left_out_are_all_files_of_any_source(
    tree: dict[tuple[str, ...], str], zipped: bool, split: str, labels: str, splits: str
) -> None:
    with tempfile.TemporaryDirectory() as place:
        source = Path(place) / "source"
        source.mkdir()
        written = write_tree(source, tree)
        if zipped:
            with zipfile.ZipFile(Path(place) / "s.zip", "w") as archive:
                for name in written:
                    archive.write(source / name, name)
            source = Path(place) / "s.zip"
        found = read(AddRequest(source, "X", split, labels=labels,
                                splits="" if split else splits))
        event("refused" if found is None else "taken")
        if found is None:
            return
        assert len(found.items) + len(found.left_out) == len(written)
        said = [one.said for one in found.left_out]
        assert len(set(said)) == len(said) and set(said) <= written.keys()
        taken = {name: kind for name, kind in written.items() if name not in said}
        assert set(taken.values()) <= PICTURES
        for item in found.items:
            folder, cls = Path(item.said).parts[-3:-1] if not split else ("", Path(
                item.said).parts[-2])
            assert cls.lower() == item.cls
            assert split == item.split or folder.lower() in {
                "train": {"train"}, "test": {"test", "masked"}, "val": {"validation", "dev"},
            }[item.split]


@pytest.mark.parametrize("suffix", ["jpg", "jfif", "jpe", "JPEG", "png", "bmp", "webp", "tif",
                                    "tiff", "gif", "avif", "heic", "HEIF"])
def test_every_picture_format_comes_in_and_can_be_read(suffix: str, tmp_path: Path) -> None:
    kind = {"tif": "TIFF", "jpg": "JPEG", "jfif": "JPEG", "jpe": "JPEG", "heic": "HEIF"}.get(
        suffix, suffix.upper())
    if kind == "HEIF" and find_spec("pillow_heif") is None:
        pytest.skip("needs the plugin for HEIC: pip install pillow-heif")
    if kind == "AVIF" and not features.check("avif"):
        pytest.skip("Pillow without AVIF")
    for number, cls in enumerate(CLASSES):
        file = tmp_path / "s/test" / cls / f"{cls}.{suffix}"
        file.parent.mkdir(parents=True)
        file.write_bytes(encoded(kind, number))
    assert "3 of 3 files taken" in "\n".join(add(AddRequest(tmp_path / "s", "S"), tmp_path))
    for folder in (tmp_path / "S", tmp_path / "s"):
        found = scan("s", folder, CLASSES)["test"]
        assert len(found) == 3 and all(decode(picture.path)[0] for picture in found)


def test_a_picture_is_what_its_content_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)  # without plugins
    write_set(tmp_path / "s", {"test": 20})
    place = tmp_path / "s/test/neutral"
    (place / "download").write_bytes(CONTENTS["jpeg"])
    (place / "notes.jpg").write_text("these are notes")
    (place / "empty.jpg").write_bytes(b"")
    (place / "phone.heic").write_bytes(CONTENTS["heic"])
    (place / "raw.nef").write_bytes(CONTENTS["tiff"])
    (place / "._x.jpg").write_bytes(b"x")
    said = "\n".join(add(AddRequest(tmp_path / "s", "S"), tmp_path))
    assert "61 of 66 files taken; left out: " in said
    for reason in ("1 empty, such as test/neutral/empty.jpg",
                   "1 damaged, or no pictures in spite of their suffix .jpg, such as test/neut",
                   "1 HEIC, which needs a plugin: pip install pillow-heif",
                   "1 no pictures (.nef)", "1 hidden or system files"):
        assert reason in said
    assert (tmp_path / "S/test/neutral/download.jpg").is_file()


@pytest.mark.parametrize(("head", "name"), [
    (b"BMW is a car maker, and so on", "a.bmp"), (b"RIFF....WAVE", "a.webp"), (b"", "a.jpg"),
    (CONTENTS["video"], "a.heic"), (b"GIF88a", "a.gif"), (b"%PDF-1.7", "a.png")])
def test_what_only_looks_like_a_picture_is_none(head: bytes, name: str) -> None:
    assert format_of(head[:HEAD], name) == ""


@pytest.mark.parametrize(("folder", "split"), [
    ("validation", "val"), ("valid", "val"), ("dev", "val"), ("testing", "test"),
    ("Training", "train"), ("evaluation", "eval")])
def test_splits_by_other_names_are_read_when_added_and_in_place(
    folder: str, split: str, tmp_path: Path
) -> None:
    write_set(tmp_path / "s", {folder: 2, "unmasked": 2})
    said = "\n".join(add(AddRequest(tmp_path / "s", "S"), tmp_path))
    assert f"S/{split}: 6 pictures" in said
    for place in (tmp_path / "s", tmp_path / "S"):
        assert len(scan("s", place, CLASSES)[split]) == 6
        assert scan("s", place, CLASSES)[split][0].relative.startswith(f"{split}/")


def test_an_own_validation_folder_in_place_validates(tmp_path: Path) -> None:
    write_set(tmp_path / "s", {"train": 8, "validation": 2})
    data = Data(sets={"s": DataSet(folder="s")})
    assert len(pictures_of("s/val", data, tmp_path)) == 6
    assert len(pictures_of("s/train", data, tmp_path)) == 24


def test_two_folders_of_one_split_are_refused(tmp_path: Path) -> None:
    write_set(tmp_path / "s", {"train": 2, "val": 2, "validation": 2})
    with pytest.raises(CallerError, match="val and validation are both the split val"):
        add(AddRequest(tmp_path / "s", "S"), tmp_path)
    with pytest.raises(CallerError, match=r"/val and .*/validation are both the split val"):
        scan("s", tmp_path / "s", CLASSES)
    add(AddRequest(tmp_path / "s", "S", splits="val=test"), tmp_path)
    assert sorted(scan("s", tmp_path / "S", CLASSES)) == ["test", "train", "val"]


@pytest.mark.parametrize("folder", ["masked", "holdout", "fold1"])
def test_a_folder_beside_the_splits_is_named_before_anything_is_written(
    folder: str, tmp_path: Path
) -> None:
    write_set(tmp_path / "s", {"unmasked": 40, folder: 1})
    with pytest.raises(CallerError, match=rf"folder {folder} with 3 pictures.*{folder}=drop"):
        add(AddRequest(tmp_path / "s", "S"), tmp_path)
    assert not (tmp_path / "S").exists()
    said = "\n".join(add(AddRequest(tmp_path / "s", "S", splits=f"{folder}=drop"), tmp_path))
    assert f"120 of 123 files taken; left out: 3 in {folder}, which --splits drops" in said
    add(AddRequest(tmp_path / "s", "T", splits=f"{folder}=test"), tmp_path)
    assert len(scan("t", tmp_path / "T", CLASSES)["test"]) == 3
    data = Data(sets={"s": DataSet(folder="s")})
    said = "\n".join(lines(data, tmp_path, pictures_on_disk(data, tmp_path)[0]))
    assert f"s: not read: 1 entry, such as {folder}/" in said


def test_a_split_without_class_folders_is_not_left_out_in_silence(tmp_path: Path) -> None:
    write_set(tmp_path / "s", {"train": 20})
    (tmp_path / "s/test").mkdir()
    (tmp_path / "s/test/1.jpg").write_bytes(CONTENTS["jpeg"])
    with pytest.raises(CallerError, match="folder test with 1 picture has no class folders"):
        add(AddRequest(tmp_path / "s", "S"), tmp_path)
    said = "\n".join(add(AddRequest(tmp_path / "s", "S", splits="test=drop"), tmp_path))
    assert "60 of 61 files taken; left out: 1 in test, which --splits drops" in said


def test_more_than_a_tenth_is_left_out_only_when_told_to(tmp_path: Path) -> None:
    write_set(tmp_path / "s", {"train": 6})
    for number in range(3):
        (tmp_path / f"s/train/neutral/{number}.jpg").write_bytes(b"no picture")
    with pytest.raises(CallerError, match=r"3 of 21 pictures would be left out: 3 damaged.*--part"):
        add(AddRequest(tmp_path / "s", "S"), tmp_path)
    assert "18 of 21 files taken" in "\n".join(
        add(AddRequest(tmp_path / "s", "S", partial=True), tmp_path))


def test_labels_that_a_map_drops_are_counted(tmp_path: Path) -> None:
    write_set(tmp_path / "s", {"train": 2})
    (tmp_path / "s/train/negative").rename(tmp_path / "s/train/surprise")
    (tmp_path / "map.yaml").write_text("classes: {surprise: drop, neutral: neutral, "
                                       "positive: positive}")
    said = add(AddRequest(tmp_path / "s", "S", labels=str(tmp_path / "map.yaml")), tmp_path)
    assert "4 of 6 files taken; left out: 2 with label surprise, which" in "\n".join(said)


class _Named(zipfile.ZipInfo):
    """A member whose name is written in an encoding, without the UTF-8 flag."""

    encoding = "cp932"

    def _encodeFilenameFlags(self) -> tuple[bytes, int]:
        return self.filename.encode(self.encoding), self.flag_bits & ~0x800


def foreign_zip(file: Path, encoding: str, names: list[str]) -> Path:
    """Write a zip as tools of other systems do."""
    with zipfile.ZipFile(file, "w") as archive:
        for number, name in enumerate(names):
            member = _Named(name)
            member.encoding = encoding
            archive.writestr(member, encoded("PNG", number))
    return file


JAPANESE = ["表情/train/negative/ソフト一_0001.png", "表情/train/neutral/十表_0001.png",
            "表情/train/positive/能力ソ_0001.png"]  # 表, ソ, 十, 能 end in 0x5C


@pytest.mark.parametrize("encoding", ["cp932", "utf-8"])
def test_a_zip_of_japanese_windows_comes_in_whole(encoding: str, tmp_path: Path) -> None:
    file = foreign_zip(tmp_path / "j.zip", encoding, JAPANESE)
    said = "\n".join(add(AddRequest(file, "J"), tmp_path))
    assert "3 of 3 files taken" in said and f"file names read as {encoding}" in said
    names = sorted(str(path.relative_to(tmp_path / "J")) for path in
                   (tmp_path / "J").rglob("*.png"))
    assert names == [name.partition("/")[2] for name in JAPANESE]


def test_other_encodings_are_kept_apart_or_named(tmp_path: Path) -> None:
    german = foreign_zip(tmp_path / "g.zip", "cp437", [
        f"train/{cls}/B\u00e4r_M\u00fcller_0001.png" for cls in CLASSES])
    add(AddRequest(german, "G"), tmp_path)
    assert (tmp_path / "G/train/neutral/B\u00e4r_M\u00fcller_0001.png").is_file()
    chinese = foreign_zip(tmp_path / "c.zip", "gbk", [
        f"train/{cls}/\u738b\u82b3_0001.png" for cls in CLASSES])
    add(AddRequest(chinese, "C", encoding="gbk"), tmp_path)
    assert (tmp_path / "C/train/neutral/\u738b\u82b3_0001.png").is_file()
    for encoding in ("ascii", "no-such"):
        with pytest.raises(CallerError, match=f"--encoding {encoding}"):
            add(AddRequest(chinese, "D", encoding=encoding), tmp_path)


def test_a_backslash_is_a_separator_where_it_is_one(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "w.zip", "w") as archive:
        for number, cls in enumerate(CLASSES):
            archive.writestr(f"train\\{cls}\\A_B_0001.png", encoded("PNG", number))
        archive.writestr("train\\", "")
    assert "3 of 3 files taken" in "\n".join(add(AddRequest(tmp_path / "w.zip", "W"), tmp_path))


def test_links_that_lead_nowhere_and_loops_are_counted(tmp_path: Path) -> None:
    write_set(tmp_path / "s", {"train": 4})
    os.symlink(tmp_path / "nowhere.jpg", tmp_path / "s/train/neutral/gone.jpg")
    os.symlink(tmp_path / "s", tmp_path / "s/loop")
    said = "\n".join(add(AddRequest(tmp_path / "s", "S"), tmp_path))
    assert "12 of 13 files taken; left out: 1 links to nothing" in said


def test_unused_things_in_place_are_listed(tmp_path: Path) -> None:
    write_set(tmp_path / "s", {"train": 2})
    (tmp_path / "s/train/neutral/a.psd").write_bytes(b"8BPS")
    data = Data(sets={"s": DataSet(folder="s")})
    assert "s: not read: 1 entry, such as train/neutral/a.psd" in "\n".join(
        lines(data, tmp_path, pictures_on_disk(data, tmp_path)[0]))
