"""Networks with batch-norm folded into convolutions answer as before."""

import pytest
import torch
from torch import Tensor, nn

from fer.config.load import load_backbone
from fer.config.schema import Backbone
from fer.models.classifier import Classifier
from fer.models.folding import folded
from fer.models.registry import build

CLASSES = ("negative", "neutral", "positive")


def trained(model: Classifier) -> Classifier:
    """Return the model with batch-norm statistics and scales as after training."""
    generator = torch.Generator().manual_seed(1)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None and module.running_var is not None
            for tensor in (module.running_mean, module.bias.data):
                tensor.uniform_(-0.5, 0.5, generator=generator)
            for tensor in (module.running_var, module.weight.data):
                tensor.uniform_(0.5, 2, generator=generator)
    return model


def images(size: int) -> Tensor:
    return torch.randint(0, 256, (3, 3, size, size), dtype=torch.uint8,
                         generator=torch.Generator().manual_seed(2))


def norms(model: nn.Module) -> int:
    return sum(isinstance(module, nn.BatchNorm2d) for module in model.modules())


@pytest.mark.parametrize("name", ["resmasking_tiny", "cbam_tiny", "mobilenet_w1", "resnet18"])
def test_a_folded_network_answers_as_before_with_less_batch_norm(name: str) -> None:
    torch.manual_seed(0)
    model = trained(build(load_backbone(name), CLASSES))
    mode, state = model.training, {key: t.clone() for key, t in model.state_dict().items()}
    fast, size = folded(model), model.backbone.input_size
    assert norms(fast) < norms(model) / 4
    assert not fast.training and model.training == mode
    assert all(torch.equal(state[key], tensor) for key, tensor in model.state_dict().items())
    model.eval()
    with torch.no_grad():
        for first, second in ((model(images(size)), fast(images(size))),
                              (model.features(images(size)), fast.features(images(size)))):
            scale = float(first.abs().max())
            assert torch.allclose(first, second, rtol=1e-4, atol=1e-5 * scale)


class Odd(nn.Module):
    """A network in which some batch-norm only seems to follow a convolution."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
        self.head = nn.Linear(4, 3)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.conv(images)
        if self.kind == "between":
            maps.relu_()
        normed = self.norm(maps)
        if self.kind == "used twice":
            normed = normed + maps
        if self.kind == "called twice":
            normed = self.norm(normed)
        logits: Tensor = self.head(normed.relu().mean((2, 3)))
        return logits


@pytest.mark.parametrize("kind", ["between", "used twice", "called twice"])
def test_what_cannot_be_folded_stays_as_it_is(kind: str) -> None:
    torch.manual_seed(0)
    net = Odd(kind)
    net.head.weight.data.zero_()  # such logits would say that anything is equal
    model = trained(Classifier(net, {"body": ["conv", "norm"], "head": ["head"]},
                               Backbone(name="odd", arch="odd", input_size=32), CLASSES))
    fast = folded(model)
    assert norms(fast) == norms(model) == 1
    with torch.no_grad():
        assert torch.equal(fast(images(32)), model.eval()(images(32)))
