"""Maker of the catalogue of timm's and torchvision's classifiers; imports both, and torch.

    python -m fer.config.library_catalogue      # JSON: library -> architecture -> weights -> entry

The login node reads its result: see `fer.config.library_models`.
"""

import json
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fer.config.library_models import imagenet_statistics

if TYPE_CHECKING:
    from timm.models import PretrainedCfg

Entries = dict[str, dict[str, Any]]  # name of weights -> what is known; the default is first
CHANNELS = 3


def make() -> dict[str, dict[str, Entries]]:
    """Return the catalogue: library -> architecture -> name of its weights -> entry.

    An entry has `input_size` (pixels, a side), `mean`, `std` (of intensities in 0…1), `file` (as in
    `backbone.pretrained`; empty if none is published), `licence` and `origin`. The default is
    first; an architecture without published weights has one entry with an empty name.
    """
    return {"timm": _timm(), "torchvision": _torchvision()}


def of_timm(known: "PretrainedCfg") -> dict[str, Any]:
    """Return the entry of some weights of timm."""
    size = max(known.input_size[1:])
    file = known.url or ""
    if known.hf_hub_id:
        file = f"hf:{known.hf_hub_id}" + (f":{known.hf_hub_filename}" if known.hf_hub_filename
                                          else "")
    origin = f"https://huggingface.co/{known.hf_hub_id}" if known.hf_hub_id else known.origin_url
    return {"input_size": size, "mean": list(known.mean), "std": list(known.std), "file": file,
            "licence": known.license, "origin": origin or known.url}


def _timm() -> dict[str, Entries]:
    import timm
    from timm.models import PretrainedCfg, get_arch_pretrained_cfgs

    found: dict[str, Entries] = {}
    for arch in timm.list_models():
        known: Mapping[str, PretrainedCfg] = get_arch_pretrained_cfgs(arch)
        usual = timm.get_pretrained_cfg(arch)
        tags = {name.partition(".")[2]: one for name, one in known.items()
                if one.input_size[0] == CHANNELS}
        entries = {tag: of_timm(one) for tag, one in tags.items()}
        first = usual.tag if usual is not None and usual.tag in entries else ""
        found[arch] = {first: entries.get(first, of_timm(PretrainedCfg())), **entries}
    return found


def _torchvision() -> dict[str, Entries]:
    from torchvision import models

    found: dict[str, Entries] = {}
    for arch in models.list_models(module=models):
        entries: Entries = {}
        for weights in models.get_model_weights(arch):
            transform = weights.transforms()
            mean, std = imagenet_statistics(f"torchvision/{arch}", transform.mean, transform.std)
            entries[weights.name] = {
                "input_size": transform.crop_size[0], "mean": list(mean),
                "std": list(std), "file": weights.url,
                "licence": weights.meta.get("license"),
                "origin": weights.meta.get("recipe")}
        found[arch] = entries
    return found


if __name__ == "__main__":
    json.dump(make(), sys.stdout)
