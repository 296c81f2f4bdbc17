"""Checkpoints in the manner of the projects that publish starts for faces: equal logits.

Each is written as the project's code writes it, with a small network of the same family.
"""

import argparse
import collections
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from start_files import clip_names
from torch import Tensor, nn

from fer.config.backbone import Backbone
from fer.errors import CallerError
from fer.models import registry
from fer.models.classifier import Classifier
from fer.models.weights import load_pretrained

CLASSES = ("negative", "neutral", "positive")
SIZE = 64
VIT = {"embed_dim": 48, "depth": 2, "num_heads": 3}
State = dict[str, Tensor]


def network(arch: str, seed: int = 0, classes: int = 3, size: int = SIZE, **options: Any
            ) -> Classifier:
    """Return a network of timm with random weights, all of them: none stays at zero."""
    torch.manual_seed(seed)
    names = CLASSES if classes == 3 else tuple(map(str, range(classes)))
    model = registry.build(
        Backbone(name="x", arch=arch, input_size=size, options=options), names).eval()
    with torch.no_grad():
        for tensor in model.net.state_dict().values():
            if tensor.is_floating_point():
                tensor.add_(torch.rand_like(tensor) * 0.1)
    return model


def state_of(model: Classifier, prefix: str = "") -> State:
    return {prefix + key: value for key, value in model.net.state_dict().items()}


def pictures(size: int = SIZE) -> Tensor:
    return torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(1))


def emotiefflib(model: Classifier) -> object:
    """EmotiEffLib: the whole network of timm, its class layer in a `Sequential`."""
    net = model.net
    net.classifier = nn.Sequential(net.classifier)
    return net


def ddamfn(model: Classifier) -> object:
    """DDAMFN, rafdb_train.py: the iteration, the weights, the optimiser."""
    adam = torch.optim.SGD(model.net.parameters(), 0.1)
    return {"iter": 20, "model_state_dict": model.net.state_dict(),
            "optimizer_state_dict": adam.state_dict()}


def ddamfn_backbone(model: Classifier) -> object:
    """DDAMFN's pretrained MixedFeatureNet: a whole module in parallel."""
    return nn.DataParallel(model.net)


def fmae(model: Classifier) -> object:
    """MAE and FMAE, util/misc.py: encoder and decoder, the optimiser, the arguments."""
    decoder = {"mask_token": torch.ones(1, 1, 32), "decoder_pos_embed": torch.ones(1, 17, 32),
               "decoder_embed.weight": torch.ones(32, 48), "decoder_embed.bias": torch.ones(32)}
    return {"model": {**state_of(model), **decoder}, "optimizer": {}, "epoch": 49, "scaler": {},
            "args": argparse.Namespace(model="mae_vit_large_patch16")}


def clip(model: Classifier) -> object:
    """OpenAI's CLIP, as a state dict: the image encoder beside the text encoder."""
    with torch.no_grad():
        model.net.head.bias.zero_()
    return {**clip_names(state_of(model), "visual."), "text_projection": torch.ones(8, 8),
            "transformer.resblocks.0.ln_1.weight": torch.ones(8), "logit_scale": torch.ones([])}


def farl(model: Classifier) -> object:
    """FaRL: CLIP's names under `state_dict`."""
    return {"state_dict": clip(model)}


def open_clip(model: Classifier) -> object:
    """OpenCLIP and SigLIP with an image encoder of timm: `visual.trunk.`."""
    return {**state_of(model, "visual.trunk."), "text.transformer.x": torch.ones(3),
            "logit_bias": torch.ones([])}


def mmpretrain(model: Classifier) -> object:
    """An mmpretrain checkpoint: backbone with a prefix, metadata, messages."""
    return {"meta": {"epoch": 3, "cfg": "model = dict()"}, "message_hub": collections.Counter("a"),
            "state_dict": collections.OrderedDict(state_of(model, "backbone."))}


def lightning(model: Classifier) -> object:
    """A checkpoint of Lightning: the module's attribute as prefix, hyperparameters."""
    return {"state_dict": {**state_of(model, "model."), "criterion.weight": torch.ones(3)},
            "pytorch-lightning_version": "2.5", "hyper_parameters": argparse.Namespace(lr=1),
            "loops": {}, "callbacks": {}}


def dino(model: Classifier) -> object:
    """DINO: student and teacher, each with its own head."""
    head = {"head.mlp.0.weight": torch.ones(4, 48), "head.last_layer.weight_v": torch.ones(9, 4)}
    student = network("timm/vit_tiny_patch16_224", 5, **VIT)
    return {"student": {**state_of(student, "module.backbone."),
                        **{f"module.{key}": value for key, value in head.items()}},
            "teacher": {**state_of(model, "backbone."), **head}, "epoch": 9,
            "args": argparse.Namespace(arch="vit_tiny"), "dino_loss": {"center": torch.ones(1, 9)}}


def insightface(model: Classifier) -> object:
    """Face recognition with timm (CosFace): the plain network, in half precision."""
    return {key: value.half() if value.is_floating_point() else value
            for key, value in state_of(model).items()}


Write = Callable[[Classifier], object]
PROJECTS: dict[str, tuple[Write, str, dict[str, Any]]] = {
    "EmotiEffLib": (emotiefflib, "timm/test_efficientnet", {}),
    "DDAMFN": (ddamfn, "cbam_tiny", {}),
    "DDAMFN's backbone": (ddamfn_backbone, "timm/test_resnet", {}),
    "FMAE": (fmae, "timm/vit_tiny_patch16_224", VIT),
    "CLIP": (clip, "timm/vit_base_patch16_clip_224", VIT),
    "FaRL": (farl, "timm/vit_base_patch16_clip_224", VIT),
    "OpenCLIP": (open_clip, "timm/vit_tiny_patch16_224", VIT),
    "mmpretrain": (mmpretrain, "timm/test_resnet", {}),
    "Lightning": (lightning, "timm/test_convnext", {}),
    "DINO": (dino, "timm/vit_tiny_patch16_224", VIT),
}


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "before-1.6"])
@pytest.mark.parametrize("project", PROJECTS)
def test_a_checkpoint_of_a_project_gives_the_logits_of_its_network(
    project: str, zipped: bool, tmp_path: Path
) -> None:
    write, arch, options = PROJECTS[project]
    source = network(arch, **options)
    content = write(source)
    expected = source.net(pictures())
    torch.save(content, tmp_path / "w.pt", _use_new_zipfile_serialization=zipped)
    model = network(arch, 7, **options)
    report = load_pretrained(model, tmp_path / "w.pt", keep_head=True)
    assert torch.equal(model.net(pictures()), expected)
    assert report.share == 1 and report.matched == report.tensors and not report.adapted


def test_a_vit_of_another_size_starts_with_its_positions_interpolated(tmp_path: Path) -> None:
    source = network("timm/vit_tiny_patch16_224", size=96, **VIT)
    for name, write in (("timm", insightface), ("MAE", fmae), ("OpenCLIP", open_clip)):
        torch.save(write(source), tmp_path / name)
        model = network("timm/vit_tiny_patch16_224", 7, **VIT)
        before = model.net.pos_embed.clone()
        report = load_pretrained(model, tmp_path / name)
        assert report.share == 1 and not torch.equal(model.net.pos_embed, before), name
        assert "pos_embed" in report.lines()[2] and "interpolated" in report.lines()[2], name


def test_clips_positions_are_said_to_be_interpolated_too(tmp_path: Path) -> None:
    source = network("timm/vit_base_patch16_clip_224", size=96, **VIT)
    torch.save(farl(source), tmp_path / "w.pth")
    report = load_pretrained(network("timm/vit_base_patch16_clip_224", 7, **VIT),
                             tmp_path / "w.pth")
    assert report.share == 1
    matched, _, fit = report.lines()
    assert "under 'state_dict'" in matched and "names translated by timm" in matched
    assert "pos_embed to 1x17x48, interpolated" in fit


def test_dinos_teacher_is_the_start_and_not_its_student(tmp_path: Path) -> None:
    source = network("timm/vit_tiny_patch16_224", **VIT)
    torch.save(dino(source), tmp_path / "w.pth")
    model = network("timm/vit_tiny_patch16_224", 7, **VIT)
    assert "under 'teacher'" in load_pretrained(model, tmp_path / "w.pth").source
    assert torch.equal(model.features(pictures()), source.features(pictures()))


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_a_torchscript_archive_gives_its_weights(tmp_path: Path) -> None:
    """As OpenAI publishes CLIP."""
    source = network("cbam_tiny")
    torch.jit.trace(source.net, pictures(), check_trace=False).save(tmp_path / "w.pt")
    model = network("cbam_tiny", 7)
    assert load_pretrained(model, tmp_path / "w.pt", keep_head=True).share == 1
    assert torch.equal(model.net(pictures()), source.net(pictures()))


def test_positions_larger_than_the_file_are_refused_before_they_are_interpolated(
    tmp_path: Path
) -> None:
    state = state_of(network("timm/vit_tiny_patch16_224", **VIT))
    state["pos_embed"] = torch.zeros(1).expand(1, 10**12, 48)
    torch.save(state, tmp_path / "w.pth")
    with pytest.raises(CallerError, match="without values"):
        load_pretrained(network("timm/vit_tiny_patch16_224", 7, **VIT), tmp_path / "w.pth")
