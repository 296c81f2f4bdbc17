"""The `strong` preset: each of its steps, against torchvision and Pillow where they have it."""

import io
from math import ceil

import numpy as np
import pytest
import torch
from picture_sets import smooth
from PIL import Image
from scipy.stats import kstest
from torchvision.transforms import functional as theirs
from torchvision.transforms.functional import InterpolationMode

from fer.data.augment.geometric import Motion, move_all, move_each
from fer.data.augment.jpeg import compress_all
from fer.data.augment.photometric import REACH, Photo, develop
from fer.data.augment.presets import PRESETS, all_at_once, one_by_one
from fer.data.augment.random_numbers import Samples

SIDE = 224


def pictures(n: int, side: int = SIDE) -> torch.Tensor:
    return torch.from_numpy(np.stack([np.asarray(smooth(i, side)) for i in range(n)]))


def samples(n: int) -> Samples:
    uids = np.random.default_rng(1).integers(0, 2**64, n, dtype=np.uint64)
    return Samples(7, 0, uids, np.zeros(n, np.int64))


def photo(n: int, **changes: np.ndarray) -> Photo:
    nothing = {"colour": np.tile(np.eye(3), (n, 1, 1)), "bias": np.zeros(n), "dark": np.ones(n),
               "blur": np.zeros(n), "noise": np.zeros(n), "noise_at": np.zeros(n, np.int64),
               "quality": np.zeros(n, np.int64), "hidden": np.zeros((n, 4), np.int64),
               "hidden_by": np.zeros((n, 3))}
    return Photo(**(nothing | changes))


def developed(images: torch.Tensor, how: Photo) -> torch.Tensor:
    out = torch.empty(images.shape)
    develop(images, how, out)
    return out


def test_a_photo_of_nothing_is_the_picture() -> None:
    images = pictures(3)
    assert developed(images, photo(3)) == pytest.approx(images / 255, abs=1e-6)


@pytest.mark.parametrize(("degrees", "scale", "shear"), [
    (10, 1.0, 0.0), (0, 1.0937, 0.0), (0, 0.8713, 0.0), (0, 1.0, 7.5), (-12.3, 0.9, -6.0)])
def test_a_bent_picture_is_torchvisions(degrees: float, scale: float, shear: float) -> None:
    picture = smooth(3, SIDE)
    expected = np.asarray(theirs.affine(picture, -degrees, [5, -9], scale, [shear, 0.0],
                                        InterpolationMode.NEAREST))
    how = Motion(np.array([False]), np.array([float(degrees)]), np.array([5]), np.array([-9]),
                 np.array([scale]), np.array([shear]))
    images = torch.from_numpy(np.asarray(picture).copy())[None]
    for ours in (next(move_each(images, how)), move_all(images, how)[0]):
        assert np.mean((ours.numpy() != expected).any(-1)) < 0.003


@pytest.mark.parametrize("factor", [0.0, 0.4, 1.6])
def test_saturation_is_torchvisions(factor: float) -> None:
    images = pictures(1)
    planes = images.permute(0, 3, 1, 2) / 255
    expected = theirs.adjust_saturation(planes, factor).permute(0, 2, 3, 1)
    grey = np.tile([0.299, 0.587, 0.114], (3, 1))
    colour = (factor * np.eye(3) + (1 - factor) * grey)[None]
    assert developed(images, photo(1, colour=colour)) == pytest.approx(expected, abs=2e-4)


def test_low_light_keeps_black_and_white_and_halves_the_shadows() -> None:
    ramp = torch.arange(256, dtype=torch.uint8)[None, :, None, None].expand(1, 256, 256, 3)
    curve = developed(ramp.contiguous(), photo(1, dark=np.array([0.5])))[0, :, 0, 0]
    assert curve[0] == 0 and curve[255] == pytest.approx(1)
    assert bool((curve.diff() > 0).all())
    assert curve[10] / (10 / 255) == pytest.approx(0.52, abs=0.01)


@pytest.mark.parametrize("sigma", [0.5, 1.2, 1.8])
def test_blur_is_torchvisions_gaussian(sigma: float) -> None:
    images = pictures(2)
    planes = images.permute(0, 3, 1, 2) / 255
    width = 2 * ceil(REACH * sigma) + 1
    expected = theirs.gaussian_blur(planes, [width, width], [sigma, sigma]).permute(0, 2, 3, 1)
    ours = developed(images, photo(2, blur=np.full(2, sigma)))
    assert ours == pytest.approx(expected, abs=1e-5)


def test_noise_has_its_deviation_and_stays_between_black_and_white() -> None:
    grey = torch.full((2, SIDE, SIDE, 3), 128, dtype=torch.uint8)
    noisy = developed(grey, photo(2, noise=np.array([0.02, 0.06]), noise_at=np.array([0, 999])))
    assert noisy.std((1, 2, 3)).tolist() == pytest.approx([0.02, 0.06], rel=0.01)
    black = developed(torch.zeros_like(grey), photo(2, noise=np.full(2, 0.5)))
    assert float(black.min()) == 0 and float(black.max()) <= 1


def libjpegs(picture: np.ndarray, quality: int) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=quality, subsampling="4:2:0")
    return np.asarray(Image.open(file))


@pytest.mark.parametrize("quality", [20, 50, 80])
@pytest.mark.parametrize("side", [224, 100])
def test_jpeg_artefacts_are_libjpegs(quality: int, side: int) -> None:
    rough = np.random.default_rng(0).normal(0, 12, (2, side, side, 1))
    images = (pictures(2, side).numpy() + rough).clip(0, 255).astype(np.uint8)
    ours = compress_all(torch.from_numpy(images) / 255, np.full(2, quality)) * 255
    for picture, mine in zip(images, ours.numpy(), strict=True):
        expected = libjpegs(picture, quality).astype(float)
        lost, apart = expected - picture, mine - expected
        assert np.abs(lost).mean() > 2  # else this test would say nothing
        assert np.sqrt((apart**2).mean()) < 0.35 * np.sqrt((lost**2).mean())
        brightness = np.abs(apart.mean(-1))
        assert brightness.mean() < 1.5


def test_a_jpeg_of_each_picture_has_its_own_quality() -> None:
    images = pictures(2) / 255
    together = compress_all(images, np.array([20, 80]))
    for row, quality in enumerate((20, 80)):
        alone = compress_all(images[row : row + 1], np.array([quality]))
        assert torch.equal(together[row], alone[0])


def test_on_a_cpu_jpeg_is_libjpegs_own() -> None:
    images = pictures(1)
    out = developed(images, photo(1, quality=np.array([30]))) * 255
    assert np.array_equal(out[0].round().numpy(), libjpegs(images[0].numpy(), 30))


def test_what_is_hidden_has_one_colour_and_the_rest_is_untouched() -> None:
    images = pictures(1)
    hidden, colour = np.array([[10, 60, 100, 130]]), np.array([[0.25, 0.5, 1.0]])
    out = developed(images, photo(1, hidden=hidden, hidden_by=colour))
    assert torch.equal(out[0, 10:60, 100:130], torch.tensor(colour[0]).float().expand(50, 30, 3))
    out[0, 10:60, 100:130] = images[0, 10:60, 100:130] / 255
    assert out == pytest.approx(images / 255, abs=1e-6)


def test_how_much_of_everything_there_is() -> None:
    change = PRESETS["strong"].change
    assert change
    plan = change(samples(20_000), SIDE)
    motion, how = plan.motion, plan.photo
    assert how is not None and motion.scale is not None and motion.shear is not None
    assert abs(motion.bent.mean() - 0.5) < 0.012
    assert kstest((motion.degrees[motion.bent] + 15) / 30, "uniform").pvalue > 1e-3
    assert motion.scale.min() >= 0.85 and motion.scale.max() <= 1.15
    assert np.abs(motion.shear).max() <= 8
    shares = [(how.dark < 1).mean(), (how.blur > 0).mean(), (how.noise > 0).mean(),
              (how.quality > 0).mean(), (how.hidden[:, 1] > 0).mean()]
    assert shares == pytest.approx([0.15, 0.2, 0.3, 0.2, 0.25], abs=0.012)
    top, bottom, left, right = how.hidden[how.hidden[:, 1] > 0].T
    assert min(top.min(), left.min()) >= 0 and max(bottom.max(), right.max()) <= SIDE
    area = (bottom - top) * (right - left) / SIDE**2
    assert area.min() > 0.018 and area.max() < 0.21
    quality = how.quality[how.quality > 0]
    assert (quality.min(), quality.max()) == (20, 80)
    assert how.blur[how.blur > 0].min() > 0.4 and how.blur.max() < 1.8


@pytest.mark.parametrize("side", [224, 33])
def test_cpu_and_gpu_ways_agree_but_for_rounding(side: int) -> None:
    change = PRESETS["strong"].change
    assert change
    plan = change(samples(24), side)
    images = pictures(24, side)
    apart = (one_by_one(images, plan) - all_at_once(images, plan)).abs()
    assert float(apart.mean()) < 1e-3 and float((apart > 0.03).float().mean()) < 0.005


@pytest.mark.parametrize("side", [16, 17, 48])
def test_small_pictures_are_taken_too(side: int) -> None:
    out = PRESETS["strong"].apply(pictures(64, side), samples(64))
    assert out.shape == (64, 3, side, side) and bool(out.isfinite().all())
    assert float(out.min()) >= 0 and float(out.max()) <= 1
