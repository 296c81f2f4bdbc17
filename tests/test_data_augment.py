"""Augmentations: functions of what a sample is, the same on every device, true to their models."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from picture_sets import smooth
from PIL import Image
from scipy.stats import kstest
from torchvision.transforms import RandomAffine, RandomRotation
from torchvision.transforms.functional import InterpolationMode, rotate, to_tensor

from fer.data.augment.geometric import Motion, move_all, move_each
from fer.data.augment.presets import PRESETS, Change, all_at_once, one_by_one
from fer.data.augment.random_numbers import Samples, noise_table, uniform

SIDE = 224
AUGMENTING = ["light", "seed2021", "strong"]


def pictures(n: int, side: int = 32) -> torch.Tensor:
    rng = np.random.default_rng(0)
    return torch.from_numpy(rng.integers(0, 256, (n, side, side, 3), dtype=np.uint8))


def samples(n: int, epoch: int = 0, seed: int = 7, passes: int | None = None) -> Samples:
    uids = np.random.default_rng(1).integers(0, 2**64, n, dtype=np.uint64)
    which = np.arange(n) % 4 if passes is None else np.full(n, passes)
    return Samples(seed, epoch, uids, which)


def some(order: NDArray[np.int64], whole: Samples) -> Samples:
    return Samples(whole.seed, whole.epoch, whole.uids[order], whole.passes[order])


def motion(n: int, flip: bool = False, degrees: float = 0.0, dx: int = 0, dy: int = 0) -> Motion:
    return Motion(np.full(n, flip), np.full(n, float(degrees)), np.full(n, dx), np.full(n, dy))


def moved_each(images: torch.Tensor, how: Motion) -> torch.Tensor:
    return torch.stack([picture.clone() for picture in move_each(images, how)])


def test_uniform_numbers_are_uniform_and_never_change() -> None:
    uids, passes = np.arange(20_000, dtype=np.uint64), np.zeros(20_000, np.int64)
    numbers = uniform(1, 2, uids, passes, "flip")
    assert kstest(numbers, "uniform").pvalue > 1e-3
    assert numbers[:3].tolist() == [0.4247852244590544, 0.012766859221614024, 0.24562296259960892]


@pytest.mark.parametrize("change", [(2, 0, 0, "a"), (1, 1, 0, "a"), (1, 0, 1, "a"), (1, 0, 0, "b")])
def test_seed_epoch_pass_and_stream_give_independent_numbers(
        change: tuple[int, int, int, str]) -> None:
    uids, ones = np.arange(5000, dtype=np.uint64), np.ones(5000, np.int64)
    seed, epoch, pass_, stream = change
    first = uniform(1, 0, uids, 0 * ones, "a")
    other = uniform(seed, epoch, uids, pass_ * ones, stream)
    assert abs(np.corrcoef(first, other)[0, 1]) < 0.05


@pytest.mark.parametrize("preset", [*AUGMENTING, "trivial"])
@given(order=st.permutations(range(8)), count=st.integers(1, 8))
@settings(deadline=None)  # no claim about time, and the machine may be busy
def test_a_sample_does_not_depend_on_its_batch(preset: str, order: list[int], count: int) -> None:
    images, whole, chosen = pictures(8), samples(8), np.array(order[:count])
    together = PRESETS[preset].apply(images, whole)
    apart = PRESETS[preset].apply(images[chosen], some(chosen, whole))
    assert torch.equal(together[chosen], apart)


@pytest.mark.parametrize("preset", AUGMENTING)
def test_another_epoch_is_another_augmentation(preset: str) -> None:
    first = PRESETS[preset].apply(pictures(4), samples(4, epoch=0, passes=0))
    assert not torch.equal(first, PRESETS[preset].apply(pictures(4), samples(4, epoch=1, passes=0)))


@pytest.mark.parametrize("preset", [*AUGMENTING, "none", "trivial"])
def test_the_pictures_themselves_are_not_changed(preset: str) -> None:
    images = pictures(8)
    PRESETS[preset].apply(images, samples(8))
    assert torch.equal(images, pictures(8))


@pytest.mark.parametrize(("preset", "dtype"), [
    ("none", torch.uint8), ("trivial", torch.uint8), ("light", torch.float32),
    ("seed2021", torch.float32), ("strong", torch.float32)])
def test_a_batch_is_nchw_in_channels_last_memory(preset: str, dtype: torch.dtype) -> None:
    batch = PRESETS[preset].apply(pictures(8), samples(8))
    assert batch.shape == (8, 3, 32, 32) and batch.dtype == dtype
    assert batch.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("preset", AUGMENTING)
def test_an_empty_share_is_an_empty_batch(preset: str) -> None:
    assert PRESETS[preset].apply(pictures(0), samples(0)).shape == (0, 3, 32, 32)
    change = PRESETS[preset].change
    assert change and all_at_once(pictures(0), change(samples(0), 32)).shape == (0, 32, 32, 3)


SHIFTS = st.integers(-40, 40)


@given(st.lists(st.tuples(st.booleans(), SHIFTS, SHIFTS), min_size=1, max_size=6))
def test_cpu_and_gpu_ways_flip_and_shift_exactly_alike(
        moves: list[tuple[bool, int, int]]) -> None:
    flips, dx, dy = (np.array(column) for column in zip(*moves, strict=True))
    how = Motion(flips, np.zeros(len(moves)), dx, dy)
    images = pictures(len(moves))
    assert torch.equal(moved_each(images, how), move_all(images, how))


@pytest.mark.parametrize("side", [224, 33])
def test_cpu_and_gpu_ways_rotate_alike_but_for_rounding(side: int) -> None:
    images = torch.from_numpy(np.stack([np.asarray(smooth(i, side)) for i in range(12)]))
    how = Motion(np.arange(12) % 2 == 0, np.linspace(-20, 20, 12), np.zeros(12, int),
                 np.zeros(12, int))
    different = (moved_each(images, how) != move_all(images, how)).any(-1)
    assert different.float().mean() < 0.003


@pytest.mark.parametrize("preset", ["light", "seed2021"])
def test_cpu_and_gpu_ways_of_a_preset_agree(preset: str) -> None:
    change = PRESETS[preset].change
    assert change
    plan = change(samples(16), SIDE)
    images = torch.from_numpy(np.stack([np.asarray(smooth(i, SIDE)) for i in range(16)]))
    different = (one_by_one(images, plan) - all_at_once(images, plan)).abs() > 1e-6
    assert different.any(-1).float().mean() < 0.003


@pytest.mark.parametrize("degrees", [1, 7.3, 20, -1, -13.9, -20])
@pytest.mark.parametrize("flip", [False, True])
def test_a_rotation_is_torchvisions(degrees: float, flip: bool) -> None:
    picture = smooth(3, SIDE)
    turned = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if flip else picture
    expected = np.asarray(rotate(turned, degrees, InterpolationMode.NEAREST))
    images = torch.from_numpy(np.asarray(picture).copy())[None]
    ours = moved_each(images, motion(1, flip, degrees))[0].numpy()
    assert np.mean((ours != expected).any(-1)) < (0.003 if flip else 1e-9)


def test_a_shift_moves_right_and_down_and_fills_with_black() -> None:
    images = pictures(1)
    shifted = moved_each(images, motion(1, dx=3, dy=-2))
    assert torch.equal(shifted[:, :-2, 3:], images[:, 2:, :-3])
    assert not shifted[:, -2:].any() and not shifted[:, :, :3].any()


def planned(preset: str, passes: int, n: int = 4000) -> Change:
    change = PRESETS[preset].change
    assert change
    return change(samples(n, passes=passes), SIDE)


@pytest.mark.parametrize(("pass_", "low", "high"), [(0, 1, 20), (1, -20, -1)])
def test_seed2021_rotates_as_torchvisions_random_rotation(
        pass_: int, low: float, high: float) -> None:
    torch.manual_seed(0)
    theirs = [RandomRotation.get_params([low, high]) for _ in range(4000)]
    ours = planned("seed2021", pass_).motion.degrees
    assert ours.min() >= low and ours.max() <= high
    assert kstest(ours, theirs).pvalue > 1e-3


def test_seed2021_shifts_as_torchvisions_random_affine() -> None:
    torch.manual_seed(0)
    theirs = np.array([RandomAffine.get_params([0, 0], [0.1, 0.1], None, None, [SIDE, SIDE])[1]
                       for _ in range(4000)])
    ours = planned("seed2021", 2).motion
    assert (ours.dx.min(), ours.dx.max()) == (theirs[:, 0].min(), theirs[:, 0].max()) == (-22, 22)
    assert kstest(ours.dx, theirs[:, 0]).pvalue > 1e-3
    assert kstest(ours.dy, theirs[:, 1]).pvalue > 1e-3
    assert abs(np.corrcoef(ours.dx, ours.dy)[0, 1]) < 0.05


def test_seed2021_adds_unclamped_noise_of_a_twentieth_in_pass_two_only() -> None:
    black = torch.zeros((64, SIDE, SIDE, 3), dtype=torch.uint8)
    noisy = PRESETS["seed2021"].apply(black, samples(64, passes=2))
    assert abs(float(noisy.std()) - 0.05) < 1e-4 and abs(float(noisy.mean())) < 1e-4
    assert kstest(noisy.flatten()[::4001].numpy() / 0.05, "norm").pvalue > 1e-3
    for passes in (0, 1, 3):
        assert not PRESETS["seed2021"].apply(black[:4], samples(4, passes=passes)).any()


def test_noise_differs_between_samples_and_epochs() -> None:
    black = torch.zeros((2, SIDE, SIDE, 3), dtype=torch.uint8)
    first = PRESETS["seed2021"].apply(black, samples(2, 0, passes=2))
    second = PRESETS["seed2021"].apply(black, samples(2, 1, passes=2))
    for a, b in ((first[0], first[1]), (first[0], second[0])):
        assert abs(float(torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1])) < 0.02


def test_the_table_of_noise_never_changes() -> None:
    first = noise_table(torch.device("cpu"))[:3]
    assert first.tolist() == pytest.approx([0.54611, 0.448592, 0.626291], abs=1e-5)


@pytest.mark.parametrize(("preset", "passes"), [
    ("seed2021", 0), ("seed2021", 1), ("seed2021", 2), ("light", 0)])
def test_half_of_the_pictures_are_flipped(preset: str, passes: int) -> None:
    assert abs(planned(preset, passes).motion.flip.mean() - 0.5) < 0.03


def test_seed2021_leaves_pass_three_plain() -> None:
    images = pictures(6)
    expected = torch.stack([to_tensor(image.numpy()) for image in images])
    assert torch.equal(PRESETS["seed2021"].apply(images, samples(6, passes=3)), expected)


def test_light_shifts_eight_percent_and_jitters_twenty() -> None:
    plan = planned("light", 0)
    assert plan.light is not None
    assert (plan.motion.dx.min(), plan.motion.dx.max()) == (-18, 18)
    gain, bias = plan.light.T
    assert 0.64 <= gain.min() < 0.66 and 1.42 < gain.max() <= 1.44
    assert abs(gain.mean() - 1) < 0.01 and abs(bias.mean()) < 0.01
    assert not plan.motion.degrees.any()


def test_light_stays_between_black_and_white() -> None:
    batch = PRESETS["light"].apply(pictures(32), samples(32))
    assert float(batch.min()) == 0 and float(batch.max()) == 1


def test_presets_have_the_passes_they_promise() -> None:
    assert {name: p.passes for name, p in PRESETS.items()} == {
        "none": 1, "light": 1, "seed2021": 4, "strong": 1, "trivial": 1}
