"""Wide convolutions by Winograd's filtering give what torch's give, where they stand in."""

import copy

import pytest
import torch
from torch import nn

from fer.config.load import load_run
from fer.config.run import Compute
from fer.models.registry import build
from fer.train.distributed import open_session
from fer.train.predict import laid_out
from fer.train.winograd import WIDE, WinogradConv, is_wide, use_winograd

CLASSES = ("negative", "neutral", "positive")


def wide(inputs: int = WIDE, outputs: int = WIDE, **others) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, **{"kernel_size": 3, "padding": 1, **others})


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("pictures", "height", "width"), [
    (3, 7, 7), (1, 8, 9), (2, 14, 7), (1, 28, 28)])
def test_the_sums_are_those_of_the_plain_convolution(
    pictures: int, height: int, width: int, bias: bool,
) -> None:
    torch.manual_seed(pictures)
    conv = wide(WIDE, WIDE + 32, bias=bias)
    images = torch.randn(pictures, WIDE, height, width)
    with torch.inference_mode():
        exact = copy.deepcopy(conv).double()(images.double())
        for laid in (images, images.to(memory_format=torch.channels_last)):
            found = WinogradConv(conv)(laid)
            assert found.shape == exact.shape
            assert found.is_contiguous(memory_format=torch.channels_last)
            assert (found - exact).abs().max() < 2e-5 * exact.abs().max()


def test_small_maps_and_no_pictures_are_left_to_the_plain_convolution() -> None:
    conv = wide()
    fast = WinogradConv(conv)
    with torch.inference_mode():
        for shape in ((2, WIDE, 6, 9), (1, WIDE, 1, 1), (0, WIDE, 6, 6)):
            images = torch.randn(shape)
            assert torch.equal(fast(images), conv(images))
        assert fast(torch.randn(0, WIDE, 8, 8)).shape == (0, WIDE, 8, 8)


@pytest.mark.parametrize("other", [
    {"inputs": WIDE - 1}, {"outputs": WIDE - 1}, {"stride": 2}, {"padding": 0}, {"dilation": 2},
    {"groups": 2}, {"kernel_size": 1, "padding": 0}, {"kernel_size": (3, 1)},
    {"padding_mode": "reflect"}, {"dtype": torch.bfloat16}, {"padding": "same"}])
def test_other_convolutions_stay_as_they_are(other: dict) -> None:
    model = nn.Sequential(wide(), nn.Sequential(wide(**other)))
    left = model[1][0]
    use_winograd(model)
    first = model[0]
    assert isinstance(first, WinogradConv)
    assert model[1][0] is left and not is_wide(left)
    use_winograd(model)  # as for each split that a model is measured on
    assert model[0] is first and isinstance(first.plain, nn.Conv2d)


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_a_full_size_backbone_answers_alike_and_bfloat16_is_left_alone(precision: str) -> None:
    config = load_run("configs/drawn.yaml", {"backbone": "resmasking_dropout1"})
    torch.manual_seed(0)
    model = build(config.backbone, CLASSES).eval()
    images = torch.rand(2, 3, 224, 224)
    with open_session(Compute(device="cpu", precision=precision)) as session:
        with torch.inference_mode():
            plain = model(images)
        fast = laid_out(session, model)
        with torch.inference_mode():
            found = fast(images)
    replaced = sum(isinstance(part, WinogradConv) for part in fast.modules())
    assert replaced == (46 if precision == "float32" else 0)
    assert (found - plain).abs().max() < 1e-4 * plain.abs().max()
