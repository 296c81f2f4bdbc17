"""Packs: decoded once, complete or absent, mended when damaged."""

import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from picture_sets import CLASSES, data_of, smooth, write_set
from PIL import Image
from torchvision.transforms import CenterCrop, Compose, Resize

from fer.config.run import Data
from fer.data import pack, pack_rows
from fer.data import pack_builder as build
from fer.data.layout import Picture, scan
from fer.data.pack import DamagedPack, Pack, ensure_pack
from fer.data.pack_builder import build_pack
from fer.data.pack_rows import fit
from fer.errors import CallerError

SIZE = 32
DIGEST = "d" * 32


@pytest.fixture
def data(tmp_path: Path) -> Data:
    write_set(tmp_path / "lfw", {"eval": 4})
    return data_of(lfw="lfw")


@pytest.fixture
def pictures(data: Data, tmp_path: Path) -> list[Picture]:
    return scan("lfw", tmp_path / "lfw", CLASSES)["eval"]


def built(pictures: list[Picture], folder: Path, **options: int) -> Pack:
    return build_pack(pictures, CLASSES, SIZE, folder, DIGEST, **options)


def ensured(data: Data, root: Path, digest: str | None = None) -> Pack:
    return ensure_pack("lfw/eval", data, root, SIZE, root / "cache", digest)


def test_a_pack_holds_what_its_folder_says(pictures: list[Picture], tmp_path: Path) -> None:
    made = built(pictures, tmp_path / "pack")
    assert (made.n, made.size, made.digest, made.class_counts) == (12, SIZE, DIGEST, (4, 4, 4))
    assert made.pixels.shape == (12, SIZE, SIZE, 3) and made.pixels.dtype == np.uint8
    assert made.labels.tolist() == [picture.label for picture in pictures]
    assert made.index().to_pylist()[5] == {
        "sample_id": pictures[5].id, "label": 1, "file": str(pictures[5].path),
        "identity": pictures[5].identity, "pair_key": pictures[5].pair_key}


@pytest.mark.parametrize(("height", "width"), [(40, 40), (32, 32), (47, 61), (61, 47), (20, 33)])
def test_pixels_are_those_of_torchvision(height: int, width: int) -> None:
    picture = smooth(3, height, width)
    expected = Compose([Resize(SIZE), CenterCrop(SIZE)])(picture)
    assert np.array_equal(fit(picture, SIZE), np.asarray(expected))


def test_uids_never_change(pictures: list[Picture], tmp_path: Path) -> None:
    assert int(built(pictures, tmp_path / "pack").uids[0]) == 185419559199674473


def test_bad_pictures_are_quarantined_and_the_rest_keeps_its_pixels(
        pictures: list[Picture], tmp_path: Path) -> None:
    whole = built(pictures, tmp_path / "whole")
    pictures[0].path.write_bytes(b"")
    pictures[5].path.write_text("text")
    pictures[11].path.write_bytes(pictures[11].path.read_bytes()[:300])
    made = built(pictures, tmp_path / "pack")
    assert [(q.id, q.reason) for q in made.quarantine] == [
        (pictures[0].id, "empty file"), (pictures[5].id, "not an image"),
        (pictures[11].id, "truncated")]
    good = [i for i in range(12) if i not in (0, 5, 11)]
    assert np.array_equal(made.pixels, whole.pixels[good])
    assert np.array_equal(made.uids, whole.uids[good])
    assert (made.n, made.class_counts, made.index().num_rows) == (9, (3, 3, 3), 9)
    assert np.load(made.folder / "pixels.npy").shape[0] == 9  # the file itself was cut


def test_a_class_without_a_usable_picture_is_an_error(
        pictures: list[Picture], tmp_path: Path) -> None:
    for picture in pictures[4:8]:
        picture.path.write_bytes(b"")
    with pytest.raises(CallerError, match=r"class 'neutral' in lfw/eval; e\.g\. .*: empty file"):
        built(pictures, tmp_path / "pack")
    assert not list(tmp_path.glob("*pack*"))


def test_an_empty_split_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CallerError, match="empty"):
        built([], tmp_path / "pack")


def test_two_processes_make_the_same_pack(pictures: list[Picture], tmp_path: Path,
                                          monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "CHUNK", 5)
    pictures[7].path.write_bytes(b"")
    one = built(pictures, tmp_path / "a", workers=1)
    two = built(pictures, tmp_path / "b", workers=2)
    assert np.array_equal(one.pixels, two.pixels) and one.quarantine == two.quarantine


def test_progress_ends_with_all_pictures(pictures: list[Picture], tmp_path: Path,
                                         monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "CHUNK", 5)
    seen: list[tuple[int, int]] = []
    build_pack(pictures, CLASSES, SIZE, tmp_path / "p", DIGEST,
               progress=lambda done, total: seen.append((done, total)))
    assert seen == [(5, 12), (10, 12), (12, 12)]


def test_an_existing_pack_is_opened_not_built(
        data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = ensured(data, tmp_path)
    monkeypatch.setattr(build, "build_pack", lambda *_, **__: pytest.fail("built again"))
    assert ensured(data, tmp_path).folder == made.folder
    assert made.folder.name == f"lfw-eval-{SIZE}-{made.digest[:12]}"


def test_with_a_known_digest_the_pictures_are_not_looked_at(
        data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    digest = ensured(data, tmp_path).digest
    monkeypatch.setattr(pack, "pictures_of", lambda *_: pytest.fail("scanned"))
    assert ensured(data, tmp_path, digest).n == 12


def test_pictures_that_changed_since_planning_are_an_error(data: Data, tmp_path: Path) -> None:
    with pytest.raises(CallerError, match="have changed since planning"):
        ensured(data, tmp_path, "0" * 32)


def cut_pixels(folder: Path) -> None:
    os.truncate(folder / "pixels.npy", 5000)


def other_n(folder: Path) -> None:
    edit_meta(folder, n=11)


def other_digest(folder: Path) -> None:
    edit_meta(folder, digest="0" * 32)


def other_version(folder: Path) -> None:
    edit_meta(folder, version=0)


def no_meta(folder: Path) -> None:
    (folder / "meta.json").unlink()


def half_meta(folder: Path) -> None:
    (folder / "meta.json").write_text('{"n": 12')


def no_labels(folder: Path) -> None:
    (folder / "labels.npy").unlink()


def edit_meta(folder: Path, **changes: object) -> None:
    meta = json.loads((folder / "meta.json").read_text())
    (folder / "meta.json").write_text(json.dumps(meta | changes))


@pytest.mark.parametrize("damage", [cut_pixels, other_n, other_digest, other_version, no_meta,
                                    half_meta, no_labels])
def test_a_damaged_pack_is_built_again(
        damage: Callable[[Path], None], data: Data, tmp_path: Path) -> None:
    made = ensured(data, tmp_path)
    pixels = made.pixels.copy()
    damage(made.folder)
    again = ensured(data, tmp_path)
    assert again.digest == made.digest and np.array_equal(again.pixels, pixels)
    assert np.array_equal(Pack.open(made.folder).pixels, pixels)


def test_opening_what_is_no_pack_says_so(tmp_path: Path) -> None:
    with pytest.raises(DamagedPack, match="not a usable pack"):
        Pack.open(tmp_path)


def test_what_a_killed_builder_left_is_removed(data: Data, tmp_path: Path) -> None:
    folder = ensured(data, tmp_path).folder
    orphan = folder.with_name(f".{folder.name}.tmp-elsewhere-1")
    orphan.mkdir()
    (folder / "meta.json").unlink()
    ensured(data, tmp_path)
    assert not orphan.exists()


def test_a_full_disk_leaves_nothing_and_names_the_folder(
        pictures: list[Picture], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(build.os, "posix_fallocate", full)
    with pytest.raises(CallerError, match=rf"no space left for {tmp_path}/packs/p.*FER_CACHE"):
        built(pictures, tmp_path / "packs" / "p")
    assert not list((tmp_path / "packs").iterdir())


def test_an_unreadable_picture_is_not_quarantined(pictures: list[Picture], tmp_path: Path) -> None:
    pictures[3].path.unlink()
    with pytest.raises(FileNotFoundError):
        built(pictures, tmp_path / "pack")


def test_two_builders_at_once_make_one_pack(data: Data, tmp_path: Path) -> None:
    code = ("import sys; from pathlib import Path; from fer.config.run import Data; "
            "from fer.data.pack import ensure_pack; root = Path(sys.argv[1]); "
            "data = Data.model_validate_json(sys.argv[2]); "
            f"print(ensure_pack('lfw/eval', data, root, {SIZE}, root / 'cache').n)")
    command = [sys.executable, "-c", code, str(tmp_path), data.model_dump_json()]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert [process.communicate(timeout=60)[0] for process in both] == ["12\n", "12\n"]
    assert len([p for p in (tmp_path / "cache" / "packs").iterdir() if p.name[0] != "."]) == 1


def test_data_modules_of_the_login_node_do_not_import_torch() -> None:
    code = ("import fer.data.layout, fer.data.splits, fer.data.digest, fer.data.decode, "
            "fer.data.pack, fer.data.pack_builder, fer.data.sampler, sys; "
            "print('torch' in sys.modules)")
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "False\n"


def test_a_saved_picture_decodes_to_what_is_packed(
        pictures: list[Picture], tmp_path: Path) -> None:
    made = built(pictures, tmp_path / "pack")
    with Image.open(pictures[2].path) as picture:
        assert np.array_equal(made.pixels[2], fit(picture.convert("RGB"), SIZE))


def interrupted(pictures: list[Picture], folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Build a pack of chunks of two pictures and interrupt it after three of them."""
    monkeypatch.setattr(build, "CHUNK", 2)

    def stop(done: int, total: int) -> None:
        if done >= 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        built(pictures, folder, progress=stop)


def test_an_interrupted_builder_leaves_its_work_to_the_next_one(
    pictures: list[Picture], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures[1].path.write_bytes(b"no picture")
    whole = built(pictures, tmp_path / "whole")
    interrupted(pictures, tmp_path / "pack", monkeypatch)
    assert not (tmp_path / "pack").exists()
    read: list[Path] = []
    decode = pack_rows.decode
    monkeypatch.setattr(pack_rows, "decode", lambda path: read.append(path) or decode(path))
    counts: list[int] = []
    resumed = built(pictures, tmp_path / "pack", progress=lambda done, total: counts.append(done))
    assert read == [picture.path for picture in pictures[6:]] and counts[0] == 8
    assert np.array_equal(resumed.pixels, whole.pixels) and resumed.quarantine == whole.quarantine
    assert not list(tmp_path.glob(".pack*"))


@pytest.mark.parametrize("change", ["machine", "content", "cut", "moved rows"])
def test_an_unfinished_pack_that_cannot_be_trusted_is_begun_anew(
    change: str, pictures: list[Picture], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupted(pictures, tmp_path / "pack", monkeypatch)
    journal = tmp_path / ".pack.unfinished/journal.jsonl"
    if change == "machine":
        monkeypatch.setattr("fer.data.pack_builder.boot_id", lambda: "another start")
    if change == "content":
        journal.write_text(journal.read_text().replace(DIGEST, "f" * 32))
    if change == "moved rows":
        with open(journal, "a") as handle:
            handle.write('{"closed": true}\n')
    if change == "cut":
        journal.write_text(journal.read_text()[:-5])
    read: list[Path] = []
    decode = pack_rows.decode
    monkeypatch.setattr(pack_rows, "decode", lambda path: read.append(path) or decode(path))
    made = built(pictures, tmp_path / "pack")
    assert len(read) == len(pictures) - (4 if change == "cut" else 0)  # two chunks are whole
    monkeypatch.undo()
    assert np.array_equal(made.pixels, built(pictures, tmp_path / "whole").pixels)


@pytest.mark.parametrize("name", ["pixels", "labels", "uids"])
def test_a_pack_in_which_another_array_was_put_is_noticed_and_built_anew(
    name: str, data: Data, tmp_path: Path
) -> None:
    made = ensured(data, tmp_path)
    assert made.intact
    file = made.folder / f"{name}.npy"
    other = np.load(file)
    other[:] = other[::-1].copy()
    file.unlink()  # as another user would who may write in the folder
    np.save(file, other)
    changed = Pack.open(made.folder)
    assert not changed.intact
    again = ensure_pack("lfw/eval", data, tmp_path, SIZE, tmp_path / "cache", made.digest,
                        intact=True)
    assert again.intact and np.array_equal(getattr(again, name), getattr(made, name))


def test_a_pack_of_an_early_version_is_used_as_it_is(data: Data, tmp_path: Path) -> None:
    made = ensured(data, tmp_path)
    meta = json.loads((made.folder / "meta.json").read_text())
    del meta["contents"]
    (made.folder / "meta.json").write_text(json.dumps(meta))
    before = (made.folder / "pixels.npy").stat().st_ino
    again = ensure_pack("lfw/eval", data, tmp_path, SIZE, tmp_path / "cache", made.digest,
                        intact=True)
    assert again.intact and (made.folder / "pixels.npy").stat().st_ino == before


def test_a_pack_is_read_whole_once_a_process(
    data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = ensured(data, tmp_path)
    assert made.intact
    monkeypatch.setattr(pack, "digest_of", lambda array: pytest.fail("read again"))
    assert Pack.open(made.folder).intact
