"""Synthetic masks: drawn by geometry, a function of the seed, over the mouth, not the eyes."""

import typing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from fer.config.augmentation import Masks, MaskStyle
from fer.data.augment.random_numbers import Samples
from fer.data.faces.face_points import TEMPLATES, Points, template
from fer.data.masks.atlas import (
    ATLAS_VERSION,
    Atlas,
    MaskAugmentation,
    ensure_atlas,
    make_atlas,
    styles_of,
    wear_all,
)
from fer.data.masks.erasing import ERASED, erase
from fer.data.masks.geometry import Fit, camera_of
from fer.data.masks.landmarks import COLUMNS, read_landmarks
from fer.data.masks.render import lay_over, render
from fer.data.masks.styles import STYLES, WELL_WORN, named, sample
from fer.data.synthetic.face import draw, landmarks
from fer.data.synthetic.sampling import plan_shots, sample_face
from fer.errors import CallerError

SIDE = 112
GREY = np.full((SIDE, SIDE, 3), 120, np.uint8)
FACE = template("cropped", SIDE, SIDE)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def covered(picture: np.ndarray, points: Points, name: str, fit: Fit = WELL_WORN) -> np.ndarray:
    """Where a mask hides the skin, whatever its colours: bool (H, W)."""
    layer = render(sample(name, rng(), fit), points)
    white = replace(layer, colour=np.full_like(layer.colour, 255), lit=False)
    return lay_over(np.zeros_like(picture), white)[..., 0] > 200


def at(area: np.ndarray, point: np.ndarray) -> bool:
    x, y = np.rint(point).astype(int)
    return bool(area[y - 1 : y + 2, x - 1 : x + 2].all())


def test_the_configuration_knows_the_styles_and_templates_that_there_are() -> None:
    assert set(typing.get_args(MaskStyle)) == {"all", ERASED, *STYLES} and len(STYLES) >= 10
    assert set(typing.get_args(Masks.model_fields["template"].annotation)) == set(TEMPLATES)
    assert Masks().drawing == ATLAS_VERSION  # so that other masks are other runs


@pytest.mark.parametrize("face", TEMPLATES)
@pytest.mark.parametrize("name", STYLES)
def test_every_style_covers_the_mouth_and_leaves_the_eyes_free(name: str, face: str) -> None:
    points = template(face, SIDE, SIDE)
    area = covered(GREY, points, name)
    if name != "window":  # through which the mouth is seen
        assert all(at(area, corner) for corner in points[3:])
    assert not any(at(area, eye) for eye in points[:2])
    assert 0.03 < area.mean() < 0.6


def test_a_window_shows_the_mouth_and_its_cloth_does_not() -> None:
    layer = render(sample("window", rng(), WELL_WORN), FACE)
    mouth = np.rint(FACE[3:].mean(0)).astype(int) - [layer.left, layer.top]
    assert layer.alpha[mouth[1], mouth[0]] < 100
    assert (layer.alpha > 250).mean() > 0.15


def test_the_flat_mask_is_white_unlit_and_casts_no_shadow() -> None:
    dark = np.full((SIDE, SIDE, 3), 20, np.uint8)
    masked = lay_over(dark, render(sample("flat", rng(), WELL_WORN), FACE))
    x, y = np.rint(FACE[3:].mean(0)).astype(int)
    assert masked[y, x].tolist() == [244, 246, 247]
    assert not render(sample("flat", rng()), FACE).shade.any()


def test_a_mask_takes_the_light_of_its_picture() -> None:
    bright, dim = (lay_over(np.full_like(GREY, level), render(sample("surgical", rng()), FACE))
                   for level in (220, 30))
    x, y = np.rint(FACE[3:].mean(0)).astype(int)
    assert bright[y, x].mean() > dim[y, x].mean() * 1.2


def test_a_mask_below_the_nose_bares_the_nose_and_one_below_the_mouth_the_mouth() -> None:
    nose, mouth = FACE[2], FACE[3:].mean(0)
    assert at(covered(GREY, FACE, "cloth"), nose)
    low = covered(GREY, FACE, "cloth", Fit(slip=0.38))
    assert not at(low, nose) and at(low, mouth)
    assert not at(covered(GREY, FACE, "cloth", Fit(slip=0.88)), mouth)


@pytest.mark.parametrize("name", STYLES)
def test_a_mask_is_a_function_of_its_seed(name: str) -> None:
    one, same, other = (render(sample(name, rng(seed)), FACE) for seed in (1, 1, 2))
    assert np.array_equal(one.colour, same.colour) and np.array_equal(one.alpha, same.alpha)
    if name != "flat":
        assert one.colour.shape != other.colour.shape or not np.array_equal(
            one.colour, other.colour)


def test_masks_are_worn_badly_now_and_then() -> None:
    slips = np.array([sample("surgical", rng(seed)).fit.slip for seed in range(300)])
    assert 0.05 < np.mean(slips > 0.25) < 0.2


@pytest.mark.parametrize("name", TEMPLATES)
def test_the_camera_puts_the_mean_head_where_the_landmarks_are(name: str) -> None:
    points = template(name, 250, 250)
    camera = camera_of(points)
    eyes = camera.project(np.array([[-0.42, 0, 0], [0.42, 0, 0], [0, 0.47, 0.40]]))
    assert np.abs(eyes - points[:3]).max() < 0.02 * 250


def test_a_mask_follows_a_head_that_is_turned() -> None:
    faces = [sample_face(5, shot) for shot in plan_shots(5, "lfw_train", 80)]
    for name in ("left", "right"):
        face = next(face for face in faces if face.look.orientation == name)
        points = landmarks(face)
        across = np.flatnonzero(covered(np.asarray(draw(face)), points, "cloth").any(0))
        nose_is_right = points[2, 0] > points[:2, 0].mean()
        # the half that is turned away is the narrower one
        left, right = points[2, 0] - across[0], across[-1] - points[2, 0]
        assert (right < left) == nose_is_right, (name, left, right)


def test_a_style_that_does_not_exist_is_named_with_the_choices() -> None:
    with pytest.raises(CallerError, match=r"no mask style 'burka'.*all, bandana"):
        named(["cloth", "burka"])
    assert named(["all"]) == tuple(name for name in STYLES if name != "flat")


def write_csv(file: Path, *rows: str) -> Path:
    file.write_text("\n".join([",".join(COLUMNS), *rows]) + "\n")
    return file


def test_landmarks_of_a_csv_are_read_by_file(tmp_path: Path) -> None:
    row = "train/neutral/a.jpg,30,40,70,40,50,60,35,80,65,80"
    found = read_landmarks(write_csv(tmp_path / "l.csv", row))
    assert found["train/neutral/a.jpg"].tolist()[2] == [50, 60]


@pytest.mark.parametrize(("rows", "words"), [
    (["a.jpg,30,40,70,40,50,60,35,80,65,x"], "l.csv:2: right_mouth_y is 'x'"),
    (["a.jpg,30,40,70,40,50,60,35,80,65,nan"], "l.csv:2: a coordinate is not finite"),
    (["a.jpg,70,40,30,40,50,60,35,80,65,80"], "left of the right"),
    (["a.jpg,30,40,70,40,50,60,35,80,65,80"] * 2, "l.csv:3: duplicate file a.jpg"),
])
def test_bad_landmarks_are_named_with_their_line(tmp_path: Path, rows: list[str], words: str
                                                 ) -> None:
    with pytest.raises(CallerError, match=words.replace("(", r"\(")):
        read_landmarks(write_csv(tmp_path / "l.csv", *rows))


def test_a_landmarks_file_that_is_missing_latin_1_or_without_columns_is_one_line(
    tmp_path: Path
) -> None:
    with pytest.raises(CallerError, match="no landmarks file"):
        read_landmarks(tmp_path / "no.csv")
    (tmp_path / "latin.csv").write_bytes("file,left_eye_x\nZoë.jpg".encode("latin-1"))
    with pytest.raises(CallerError, match="not UTF-8"):
        read_landmarks(tmp_path / "latin.csv")
    (tmp_path / "short.csv").write_text("file,left_eye_x\n")
    with pytest.raises(CallerError, match="no column left_eye_y"):
        read_landmarks(tmp_path / "short.csv")


@pytest.fixture(scope="module")
def atlas() -> Atlas:
    return make_atlas(("surgical", "flat", "window"), "drawn", SIDE)


def batch(n: int = 12) -> tuple[torch.Tensor, Samples]:
    images = torch.from_numpy(rng(3).integers(0, 256, (n, SIDE, SIDE, 3), dtype=np.uint8))
    uids = rng(4).integers(0, 1 << 60, n).astype(np.uint64)
    return images, Samples(0, 0, uids, np.zeros(n, np.int64))


def test_masks_on_a_batch_are_those_laid_on_one_by_one(atlas: Atlas) -> None:
    images, samples = batch()
    augmentation = MaskAugmentation(atlas, 1.0)
    one_by_one = augmentation.apply(images.clone(), samples)
    _, choice = augmentation.choose(samples)
    together = wear_all(images, atlas, augmentation.layers, choice)  # the way of a GPU, on a CPU
    apart = (one_by_one.int() - together.int()).abs()
    assert apart.max() <= 1 and (apart > 0).float().mean() < 1e-3
    assert not torch.equal(one_by_one, images) and choice.flip.any() and not choice.flip.all()


def test_a_samples_mask_does_not_depend_on_its_batch(atlas: Atlas) -> None:
    images, samples = batch()
    augmentation = MaskAugmentation(atlas, 0.6)
    whole = augmentation.apply(images.clone(), samples)
    part = Samples(0, 0, samples.uids[5:9], samples.passes[5:9])
    assert torch.equal(augmentation.apply(images[5:9].clone(), part), whole[5:9])
    later = Samples(0, 1, samples.uids, samples.passes)
    assert not torch.equal(augmentation.apply(images.clone(), later), whole)


def test_a_probability_is_how_often_pictures_get_a_mask(atlas: Atlas) -> None:
    uids = rng(5).integers(0, 1 << 60, 4000).astype(np.uint64)
    wearers, _ = MaskAugmentation(atlas, 0.3).choose(Samples(0, 0, uids, np.zeros(4000, np.int64)))
    assert abs(len(wearers) / 4000 - 0.3) < 0.03


def test_erasing_hides_a_rectangle_of_the_lower_face_and_no_eye() -> None:
    points = template("drawn", SIDE, SIDE)
    for seed in range(40):
        layer = erase(points, rng(seed))
        area = np.zeros((SIDE, SIDE), bool)
        area[max(layer.top, 0) : layer.top + len(layer.alpha),
             max(layer.left, 0) : layer.left + layer.alpha.shape[1]] = True
        assert not any(at(area, eye) for eye in points[:2]) and 0.02 < area.mean() < 0.5
    assert styles_of(Masks(styles=("erased", "all"))) == (*named(["all"]), ERASED)
    assert styles_of(Masks(styles=("erased",))) == (ERASED,) and ERASED not in named(["all"])


def test_an_atlas_is_drawn_once_and_read_from_the_cache(tmp_path: Path) -> None:
    masks = Masks(styles=("cloth",), template="cropped")
    first = ensure_atlas(masks, 64, tmp_path)
    (file,) = (tmp_path / "masks").glob("*.npz")
    written = file.stat().st_mtime_ns
    again = ensure_atlas(masks, 64, tmp_path)
    assert file.stat().st_mtime_ns == written and np.array_equal(first.colour, again.colour)
