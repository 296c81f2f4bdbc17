"""The promises of the drawn default data: what is on disk, and that it is always the same."""

import io
import re
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fer.config.run import MOST_DRAWINGS, Data, DataSet
from fer.data.layout import scan
from fer.data.metadata import read_facts
from fer.data.synthetic import sets as drawn_sets
from fer.data.synthetic.face import draw, draw_twins
from fer.data.synthetic.parameters import SIZE
from fer.data.synthetic.sampling import ORIENTATIONS, SETS, person_name, plan_shots, sample_face
from fer.data.synthetic.sets import MARKER, README, DrawnFaces, write_drawn_sets
from fer.errors import CallerError
from fer.study.inputs import draw_missing_faces

TINY = DrawnFaces(seed=7, lfw_train=25, lfw_eval=25, real_test=9, people_train=9)
FOLDERS = {
    "LFW-FER/train", "LFW-FER/eval", "M-LFW-FER/train", "M-LFW-FER/eval",
    "REAL-FER/test", "PEOPLE-FER/train",
}  # fmt: skip


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("drawn") / "sets"
    write_drawn_sets(root, TINY, workers=1)
    return root


def files_of(root: Path, folder: str) -> dict[str, bytes]:
    """Return class/name → bytes of one split."""
    base = root / folder
    return {path.relative_to(base).as_posix(): path.read_bytes() for path in base.rglob("*.jpg")}


def people_of(root: Path, folder: str) -> set[str]:
    return {path.stem[:-5] for path in (root / folder).rglob("*.jpg")}


def decoded(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content)), dtype=float)


def test_every_set_lies_where_the_real_one_would(root: Path) -> None:
    found = {path.parent.parent.relative_to(root).as_posix() for path in root.rglob("*.jpg")}
    assert found == FOLDERS


def test_every_class_has_its_folder(root: Path) -> None:
    for folder in FOLDERS:
        assert sorted(p.name for p in (root / folder).iterdir()) == list(drawn_sets.CLASSES)


def test_a_set_holds_as_many_pictures_as_asked_for(root: Path) -> None:
    for entry in SETS:
        assert len(files_of(root, entry.folder)) == getattr(TINY, entry.name)


def test_file_names_are_identity_and_number(root: Path) -> None:
    names = [path.name for path in root.rglob("*.jpg")]
    assert all(re.fullmatch(r"[A-Z][a-z]+_[A-Z][a-z]+_\d{4}\.jpg", name) for name in names)


def test_pictures_are_rgb_jpegs_of_250_pixels_a_side(root: Path) -> None:
    kinds = set()
    for path in root.rglob("*.jpg"):
        with Image.open(path) as image:
            kinds.add((image.format, image.mode, image.size))
    assert kinds == {("JPEG", "RGB", (SIZE, SIZE))}


def test_lfw_classes_are_as_uneven_as_in_lfw_fer() -> None:
    labels = Counter(shot.label for shot in plan_shots(3, "lfw_train", 500))
    assert labels == {0: 40, 1: 180, 2: 280}


def test_real_classes_are_even() -> None:
    labels = Counter(shot.label for shot in plan_shots(3, "real_test", 135))
    assert labels == {0: 45, 1: 45, 2: 45}


def test_people_have_one_to_eight_pictures_mostly_one() -> None:
    often = Counter(Counter(s.person for s in plan_shots(3, "lfw_train", 1000)).values())
    assert set(often) <= set(range(1, 9)) and often.most_common(1)[0][0] == 1 and often[4] > 0


def test_a_masked_twin_has_its_pictures_file_name(root: Path) -> None:
    for split in ("train", "eval"):
        plain, masked = (files_of(root, f"{name}/{split}") for name in ("LFW-FER", "M-LFW-FER"))
        assert plain.keys() == masked.keys()


def test_a_masked_twin_differs_below_the_eyes_only(root: Path) -> None:
    plain, masked = (files_of(root, f"{name}/eval") for name in ("LFW-FER", "M-LFW-FER"))
    for name in plain:
        change = np.abs(decoded(plain[name]) - decoded(masked[name])).mean(axis=2)
        assert change[:95].mean() < 0.5, name  # nothing but JPEG noise in the upper part
        assert change[140:200, 90:160].mean() > 15, name


def test_a_synthetic_mask_is_flat_white() -> None:
    face = sample_face(7, plan_shots(7, "lfw_eval", 1)[0])
    plain, masked = (np.asarray(image) for image in draw_twins(face))
    colours, counts = np.unique(masked[(plain != masked).any(axis=2)], axis=0, return_counts=True)
    assert colours[counts.argmax()].min() > 240 and counts.max() > 0.8 * counts.sum()


def test_real_masks_come_in_many_kinds() -> None:
    masks = [sample_face(7, shot).mask for shot in plan_shots(7, "real_test", 100)]
    assert {mask.kind for mask in masks if mask} == {"surgical", "cloth", "cone", "bandana"}
    assert len({mask.colour for mask in masks if mask}) > 30


def test_some_real_masks_leave_the_nose_out() -> None:
    masks = [sample_face(7, shot).mask for shot in plan_shots(7, "real_test", 100)]
    assert 0 < sum(mask.top > 0.4 for mask in masks if mask) < 30


def test_nobody_is_in_two_sets(root: Path) -> None:
    folders = [entry.folder for entry in SETS]
    people = [people_of(root, folder) for folder in folders]
    assert sum(map(len, people)) == len(set.union(*people))


def test_names_stay_unique_up_to_the_largest_set() -> None:
    names = {person_name(e.name, k) for e in SETS for k in range(MOST_DRAWINGS)}
    assert len(names) == len(SETS) * MOST_DRAWINGS


def test_five_head_orientations_occur() -> None:
    looks = [sample_face(7, shot).look for shot in plan_shots(7, "lfw_train", 200)]
    assert {look.orientation for look in looks} == set(ORIENTATIONS)


def test_turning_the_head_moves_the_features() -> None:
    face = sample_face(7, plan_shots(7, "lfw_train", 1)[0])
    left, right = (
        np.asarray(draw(replace(face, look=replace(face.look, yaw=yaw))), dtype=float)
        for yaw in (-24.0, 24.0)
    )
    assert np.abs(left - right)[80:200, 60:190].mean() > 8


def test_a_picture_is_a_function_of_its_parameters() -> None:
    face = sample_face(7, plan_shots(7, "real_test", 1)[0])
    assert draw(face).tobytes() == draw(face).tobytes()


def test_another_seed_draws_another_picture() -> None:
    first, other = (draw(sample_face(s, plan_shots(s, "lfw_eval", 1)[0])) for s in (7, 8))
    assert first.tobytes() != other.tobytes()


def test_the_number_of_workers_changes_no_byte(root: Path, tmp_path: Path) -> None:
    write_drawn_sets(tmp_path / "two", TINY, workers=2)
    for folder in FOLDERS:
        assert files_of(tmp_path / "two", folder) == files_of(root, folder)


def test_a_larger_set_starts_with_the_smaller_one(root: Path, tmp_path: Path) -> None:
    larger = TINY.model_copy(update={"lfw_train": 31, "real_test": 10})
    write_drawn_sets(tmp_path / "larger", larger, workers=1)
    for folder in FOLDERS:
        assert files_of(root, folder).items() <= files_of(tmp_path / "larger", folder).items()


def test_a_second_call_draws_nothing(root: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    assert write_drawn_sets(root, TINY, workers=1) is False
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before


def test_another_spec_is_refused_by_the_folders_name(root: Path) -> None:
    with pytest.raises(CallerError, match=re.escape(str(root))):
        write_drawn_sets(root, TINY.model_copy(update={"seed": 8}), workers=1)


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(CallerError, match=MARKER):
        write_drawn_sets(tmp_path, TINY, workers=1)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_an_interrupted_drawing_leaves_nothing_behind(tmp_path: Path, workers: int) -> None:
    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_drawn_sets(tmp_path / "sets", TINY, workers=workers, progress=interrupt)
    assert list(tmp_path.iterdir()) == []


def test_whoever_publishes_second_keeps_the_first_ones_folder(root: Path, tmp_path: Path) -> None:
    target = tmp_path / "sets"

    def overtake(done: int, total: int) -> None:
        if done == total:
            shutil.copytree(root, target)
            (target / "first").touch()

    write_drawn_sets(target, TINY, workers=1, progress=overtake)
    assert (target / "first").exists() and [p.name for p in tmp_path.iterdir()] == ["sets"]


def test_progress_ends_at_the_total(tmp_path: Path) -> None:
    spec = DrawnFaces(lfw_train=2, lfw_eval=2, real_test=1, people_train=1)
    calls: list[tuple[int, int]] = []
    write_drawn_sets(tmp_path / "s", spec, workers=1, progress=lambda *at: calls.append(at))
    assert calls[-1] == (6, 6) and calls == sorted(calls)


def test_the_folder_says_that_these_are_drawings(root: Path) -> None:
    assert "DRAWINGS" in (root / README).read_text(encoding="utf-8")


def test_an_unknown_field_of_the_spec_is_refused() -> None:
    with pytest.raises(ValueError, match="lfw_test"):
        DrawnFaces.model_validate({"lfw_test": 3})


@pytest.mark.slow
def test_the_set_of_many_masks_is_a_twin_and_is_drawn_when_asked_for(tmp_path: Path) -> None:
    spec = DrawnFaces(lfw_train=25, lfw_eval=25, real_test=3, people_train=3)
    data = Data(sets={"lfw": DataSet(folder="drawn/LFW-FER"),
                      "many": DataSet(folder="drawn/MANY-FER", twin_of="lfw")}, drawn=spec)
    assert draw_missing_faces(data, tmp_path, ["lfw"])
    assert not (tmp_path / "drawn/MANY-FER").exists()
    assert draw_missing_faces(data, tmp_path, ["lfw", "many"])
    assert not draw_missing_faces(data, tmp_path, ["lfw", "many"])
    plain, masked = (scan(name, tmp_path / data.sets[name].folder, data.classes)["train"]
                     for name in ("lfw", "many"))
    assert [p.relative for p in masked] == [p.relative for p in plain] and len(plain) == 25
    for before, after in zip(plain, masked, strict=True):
        changed = np.abs(np.asarray(Image.open(before.path)).astype(int)
                         - np.asarray(Image.open(after.path))).max(-1) > 40
        rows = np.flatnonzero(changed.any(1))
        assert changed.mean() > 0.03 and rows.mean() > 125  # on the lower half of the face
    worn = read_facts(tmp_path / "drawn/MANY-FER")
    assert len({facts.mask_type for facts in worn.values()}) > 4


def test_the_real_set_says_which_masks_its_people_wear(tmp_path: Path) -> None:
    spec = DrawnFaces(lfw_train=3, lfw_eval=3, real_test=60, people_train=3)
    write_drawn_sets(tmp_path / "drawn", spec, workers=1)
    facts = read_facts(tmp_path / "drawn/REAL-FER")
    files = {path.relative_to(tmp_path / "drawn/REAL-FER").as_posix()
             for path in (tmp_path / "drawn/REAL-FER").rglob("*.jpg")}
    assert set(facts) == files and len(files) == 60
    assert {"surgical", "below-nose"} <= {one.mask_type for one in facts.values()}


def test_the_faces_of_a_seed_never_change() -> None:
    """What was drawn once stays comparable; a change here needs another GENERATOR_VERSION."""
    shots = [shot for name in ("lfw_eval", "real_test") for shot in plan_shots(1, name, 8)]
    faces = [sample_face(1, shot) for shot in shots]
    assert [face.person.style for face in faces] == [
        "bald", "bald", "bald", "bald", "buzz", "afro", "bun", "long",
        "side", "bald", "bald", "bald", "bob", "receding", "receding", "receding"]
    assert [face.mask.kind for face in faces if face.mask] == [
        "cloth", "surgical", "surgical", "cone", "bandana", "cone", "surgical", "bandana"]
    assert [face.expression.corner for face in faces[:4]] == pytest.approx(
        [-0.0803, 0.0001, 0.9517, 0.9344], abs=1e-4)
