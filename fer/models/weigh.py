"""How many bytes a backbone's weights take: asked by a launcher, which does not import torch.

    python -m fer.models.weigh < backbones.json     [{"backbone": {...}, "classes": [...]}, ...]
"""

import json
import sys

import torch

from fer.config.schema import Backbone
from fer.models.registry import build


def weigh(backbone: Backbone, classes: list[str]) -> tuple[int, int]:
    """Return the bytes of all weights and of those that have optimiser state, allocating none."""
    with torch.device("meta"):
        model = build(backbone, classes)
    trained = sum(p.numel() * p.element_size() for p in model.parameters())
    others = sum(b.numel() * b.element_size() for b in model.buffers())
    return trained + others, trained


if __name__ == "__main__":
    asked = json.load(sys.stdin)
    json.dump([weigh(Backbone.model_validate(one["backbone"]), one["classes"]) for one in asked],
              sys.stdout)
