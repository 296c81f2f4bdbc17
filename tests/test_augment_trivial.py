"""The `trivial` preset: torchvision's TrivialAugmentWide, in batches."""

import numpy as np
import pytest
import torch
from picture_sets import smooth
from PIL import Image
from torchvision.transforms import TrivialAugmentWide
from torchvision.transforms import functional as theirs
from torchvision.transforms.functional import InterpolationMode

from fer.data.augment import trivial_augment as trivial
from fer.data.augment.presets import PRESETS
from fer.data.augment.random_numbers import Samples
from fer.data.augment.trivial_augment import BINS, MAGNITUDES, MOVES, OPERATIONS, matrices, operate

SIDE = 64


def pictures(n: int = 6) -> torch.Tensor:
    return torch.from_numpy(np.stack([np.asarray(smooth(i, SIDE)) for i in range(n)]))


def samples(n: int, epoch: int = 0) -> Samples:
    uids = np.random.default_rng(1).integers(0, 2**64, n, dtype=np.uint64)
    return Samples(7, epoch, uids, np.zeros(n, np.int64))


def torchvisions(operation: str, picture: torch.Tensor, magnitude: float) -> torch.Tensor:
    """Return what torchvision makes of one picture, (S, S, 3), with its public functions."""
    planes, factor = picture.permute(2, 0, 1), 1 + magnitude
    by_name = {
        "Identity": lambda: planes,
        "Brightness": lambda: theirs.adjust_brightness(planes, factor),
        "Color": lambda: theirs.adjust_saturation(planes, factor),
        "Contrast": lambda: theirs.adjust_contrast(planes, factor),
        "Sharpness": lambda: theirs.adjust_sharpness(planes, factor),
        "Posterize": lambda: theirs.posterize(planes, int(magnitude)),
        "Solarize": lambda: theirs.solarize(planes, magnitude),
        "AutoContrast": lambda: theirs.autocontrast(planes),
        "Equalize": lambda: theirs.equalize(planes)}
    return by_name[operation]().permute(1, 2, 0)


def moved_by_torchvision(operation: str, picture: torch.Tensor, magnitude: float) -> np.ndarray:
    lean, whole = float(np.degrees(np.arctan(magnitude))), int(magnitude)
    image = Image.fromarray(picture.numpy())
    if operation == "Rotate":
        return np.asarray(theirs.rotate(image, magnitude, InterpolationMode.NEAREST))
    shear = {"ShearX": [lean, 0.0], "ShearY": [0.0, lean]}.get(operation, [0.0, 0.0])
    shift = {"TranslateX": [whole, 0], "TranslateY": [0, whole]}.get(operation, [0, 0])
    center = [0, 0] if operation.startswith("Shear") else None
    return np.asarray(theirs.affine(image, 0.0, shift, 1.0, shear, InterpolationMode.NEAREST,
                                    center=center))


def test_operations_and_magnitudes_are_torchvisions() -> None:
    space = TrivialAugmentWide()._augmentation_space(BINS)
    assert list(OPERATIONS) == list(space)
    for name, (magnitudes, _) in space.items():
        if magnitudes.ndim:
            assert MAGNITUDES[name] == pytest.approx(magnitudes.numpy(), rel=1e-6), name


@pytest.mark.parametrize("operation", [name for name in OPERATIONS if name not in MOVES])
@pytest.mark.parametrize("bin_", [0, 7, 30])
@pytest.mark.parametrize("sign", [1, -1])
def test_an_operation_on_light_is_torchvisions_to_the_bit(
        operation: str, bin_: int, sign: int) -> None:
    amount = float(MAGNITUDES[operation][bin_])
    amount *= sign if operation in trivial.BLENDS else 1
    images = pictures()
    ours = operate(operation, images, np.full(len(images), amount))
    for picture, mine in zip(images, ours, strict=True):
        assert torch.equal(mine, torchvisions(operation, picture, amount))


@pytest.mark.parametrize("operation", MOVES)
@pytest.mark.parametrize("bin_", [0, 7, 30])
@pytest.mark.parametrize("sign", [1, -1])
def test_a_move_is_torchvisions_of_a_pillow_image(operation: str, bin_: int, sign: int) -> None:
    amount = sign * float(MAGNITUDES[operation][bin_])
    images = pictures(2)
    ours = operate(operation, images, np.full(2, amount))
    for picture, mine in zip(images, ours, strict=True):
        different = (mine.numpy() != moved_by_torchvision(operation, picture, amount)).any(-1)
        assert different.mean() < 0.003
    all_at_once = trivial.warp_all(images, matrices(operation, np.full(2, amount), SIDE))
    assert (ours != all_at_once).any(-1).float().mean() < 0.02  # ties on the diagonal at 135°


def test_flat_channels_are_left_alone() -> None:
    flat = torch.full((1, SIDE, SIDE, 3), 77, dtype=torch.uint8)
    for operation in ("AutoContrast", "Equalize"):
        assert torch.equal(operate(operation, flat, np.zeros(1)), flat)


def test_every_operation_comes_and_every_picture_keeps_its_own() -> None:
    n = 140
    images = pictures(1).expand(n, -1, -1, -1).contiguous()
    whole = samples(n)
    together = PRESETS["trivial"].apply(images, whole)
    drawn = whole.below("trivial", len(OPERATIONS))
    assert set(drawn.tolist()) == set(range(len(OPERATIONS)))
    for row in range(0, n, 7):
        alone = PRESETS["trivial"].apply(images[row : row + 1], whole.some([row]))
        assert torch.equal(alone[0], together[row])
    assert not torch.equal(together, PRESETS["trivial"].apply(images, samples(n, epoch=1)))
    assert together.dtype == torch.uint8


def test_pictures_smaller_than_a_shift_become_black_and_do_not_fail() -> None:
    tiny = torch.full((1, 16, 16, 3), 9, dtype=torch.uint8)
    assert not operate("TranslateX", tiny, np.array([32.0])).any()
