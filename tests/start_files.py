"""Randomly filled weights files for `sweeps/starts.yaml` and its small twin on drawn faces.

    python tests/start_files.py     # those of the twin, below $FER_CACHE
"""

import argparse
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from fer.config.backbone import Backbone
from fer.config.paths import cache
from fer.models import registry

CLASSES = ("negative", "neutral", "positive")
SIZES = {"tiny_dinov2": 112, "tiny_siglip2": 96, "tiny_clip": 96}  # px; the others have the run's

State = dict[str, Tensor]


def random_state(backbone: Backbone, seed: int = 0) -> State:
    """Return a state dict of a network with random values, on the CPU."""
    torch.manual_seed(seed)
    net = registry.build(backbone, CLASSES).net
    return {key: tensor + 0.05 * torch.rand_like(tensor) if tensor.is_floating_point() else tensor
            for key, tensor in net.state_dict().items()}


def shapes_alone(backbone: Backbone) -> State:
    """Return a state dict of the right shapes whose tensors repeat one number: a file of kB."""
    with torch.device("meta"):
        net = registry.build(backbone, CLASSES).net
    return {key: torch.zeros(1, dtype=tensor.dtype).expand(tensor.shape)
            for key, tensor in net.state_dict().items()}


def clip_names(state: State, prefix: str) -> State:
    """Return a ViT of timm under the names of OpenAI's CLIP; its head becomes `proj`."""
    swaps = (("patch_embed.proj", "conv1"), ("pos_embed", "positional_embedding"),
             ("blocks.", "transformer.resblocks."), ("norm_pre", "ln_pre"),
             ("mlp.fc1", "mlp.c_fc"), ("mlp.fc2", "mlp.c_proj"), ("attn.proj", "attn.out_proj"),
             ("qkv.", "in_proj_"), (".norm1", ".ln_1"), (".norm2", ".ln_2"))
    found = {}
    for key, tensor in state.items():
        name, value = key, tensor
        if key == "cls_token":
            name, value = "class_embedding", tensor.flatten()
        elif key == "pos_embed":
            value = tensor[0]
        elif key.startswith("norm."):
            name = key.replace("norm.", "ln_post.")
        elif key == "head.weight":
            name, value = "proj", tensor.t()
        elif key == "head.bias":
            continue
        for new, old in swaps:
            name = name.replace(new, old)
        found[prefix + name] = value
    return found


def write_start(backbone: Backbone, path: Path) -> None:
    """Write the file from which a network of the twin starts, in the manner of its project."""
    side = SIZES.get(backbone.name, backbone.input_size)
    state = random_state(backbone.model_copy(update={"input_size": side}))
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".safetensors":
        save_file(state, path)
    elif backbone.name == "tiny_dinov2":
        torch.save({"teacher": {f"backbone.{key}": value for key, value in state.items()},
                    "args": argparse.Namespace(arch="vit_small")}, path)
    elif backbone.name == "tiny_siglip2":
        torch.save({f"visual.trunk.{key}": value for key, value in state.items()}, path)
    elif backbone.name == "tiny_clip":
        torch.save({"state_dict": clip_names(state, "visual.")}, path)
    else:
        torch.save({"model": state, "epoch": 3}, path)


def write_starts(folder: Path) -> None:
    """Write the files of `sweeps/starts_drawn.yaml` below a folder, `$FER_CACHE`."""
    from fer.config.load import load_study
    from fer.config.weights_file import weights_path

    for block in load_study("sweeps/starts_drawn.yaml").grid["backbone"]:
        backbone = Backbone.model_validate(block)
        assert backbone.pretrained is not None and backbone.pretrained.file is not None
        write_start(backbone, weights_path(folder, backbone.pretrained.file))


if __name__ == "__main__":
    write_starts(cache())
    print(f"{cache() / 'weights' / 'starts'}: six files with random weights")
