"""A classifier carries its preprocessing and its stages."""

import copy

import pytest
import torch
from torch import nn

from fer.config.backbone import Backbone
from fer.models import registry
from fer.models.classifier import Classifier

CLASSES = ("negative", "neutral", "positive")
NORMALISED = {"mean": (0.5, 0.4, 0.3), "std": (0.2, 0.3, 0.4)}


def tiny(arch="cbam_tiny", **changes):
    torch.manual_seed(0)
    return registry.build(Backbone(name="tiny", arch=arch, input_size=48, **changes), CLASSES)


def pictures(count=4):
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (count, 3, 48, 48), dtype=torch.uint8, generator=generator)


@pytest.mark.parametrize("preprocessing", [{}, NORMALISED], ids=["plain", "normalised"])
def test_uint8_and_float_images_give_the_same_logits(preprocessing):
    model = tiny(**preprocessing).eval()
    torch.testing.assert_close(model(pictures()), model(pictures() / 255), rtol=1e-5, atol=1e-6)


def test_without_normalisation_uint8_and_float_agree_to_the_bit():
    model = tiny()
    assert torch.equal(model.preprocess(pictures()), model.preprocess(pictures() / 255))


def test_normalisation_is_the_textbook_one():
    mean, std = (torch.tensor(NORMALISED[key]).view(3, 1, 1) for key in ("mean", "std"))
    expected = (pictures() / 255 - mean) / std
    torch.testing.assert_close(tiny(**NORMALISED).preprocess(pictures()), expected)


def test_the_callers_images_stay_as_they_were():
    images = pictures() / 255
    before = images.clone()
    tiny()(images)
    assert torch.equal(images, before)


@pytest.mark.parametrize("preprocessing", [{}, NORMALISED], ids=["plain", "normalised"])
def test_channels_last_images_stay_channels_last(preprocessing):
    images = pictures().to(memory_format=torch.channels_last)
    prepared = tiny(**preprocessing).preprocess(images)
    assert prepared.is_contiguous(memory_format=torch.channels_last)


def test_logits_are_float32_under_bf16_autocast():
    with torch.autocast("cpu", torch.bfloat16):
        assert tiny()(pictures()).dtype == torch.float32


@pytest.mark.parametrize("arch", ["resmasking_tiny", "cbam_tiny"])
def test_the_graph_compiles_without_a_break(arch):
    model = tiny(arch).eval()
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    assert torch.equal(compiled(pictures()), model(pictures()))


def test_preprocessing_is_no_part_of_the_weights():
    assert all(key.startswith("net.") for key in tiny(**NORMALISED).state_dict())


def test_equal_seeds_build_equal_weights():
    first, second = tiny().state_dict(), tiny().state_dict()
    assert all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize("arch", registry.names())
def test_stages_partition_all_parameters_and_buffers(arch):
    with torch.device("meta"):
        model = registry.build(Backbone(name="x", arch=arch), CLASSES)
    held = [id(tensor) for modules in model.stages.values() for module in modules
            for tensor in (*module.parameters(), *module.buffers())]
    assert sorted(held) == sorted({id(t) for t in (*model.net.parameters(), *model.net.buffers())})


@pytest.mark.parametrize("stages, complaint", [
    ({"head": ("1",)}, "belongs to no stage"),
    ({"all": ("0", "1"), "head": ("1",)}, "belongs to two stages"),
    ({"head": ("1",), "stem": ("0",)}, "last stage is not 'head'"),
])
def test_stages_that_are_no_partition_are_refused(stages, complaint):
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    with pytest.raises(AssertionError, match=complaint):
        Classifier(net, stages, Backbone(name="x", arch="x"), ("a", "b"))


def test_the_stages_of_a_copy_are_the_copys():
    model = tiny()
    twin = copy.deepcopy(model)
    held = {id(p) for modules in twin.stages.values() for m in modules for p in m.parameters()}
    assert held == {id(p) for p in twin.parameters()}


def test_stages_follow_a_conversion_to_synchronised_batch_norm():
    model = nn.SyncBatchNorm.convert_sync_batchnorm(tiny())
    assert isinstance(model.stages["stem"][1], nn.SyncBatchNorm)


@pytest.mark.parametrize("preprocessing", [{}, NORMALISED], ids=["plain", "normalised"])
def test_a_grey_backbone_sees_the_brightness_in_every_channel(preprocessing):
    grey, plain = tiny(grey=True, **preprocessing), tiny(**preprocessing)
    images = pictures()
    shares = torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)
    brightness = (images * shares).sum(1, keepdim=True).expand(-1, 3, -1, -1)
    torch.testing.assert_close(grey.preprocess(images), plain.preprocess(brightness / 255))
    torch.testing.assert_close(grey.preprocess(images / 255), grey.preprocess(images))
    last = grey.preprocess(images.to(memory_format=torch.channels_last))
    assert last.is_contiguous(memory_format=torch.channels_last)


def test_grey_joins_the_run_id_only_where_it_is_asked_for():
    from fer.config.run_id import scientific

    assert "grey" not in scientific(tiny().backbone)
    assert scientific(tiny(grey=True).backbone)["grey"] is True
