"""What `record.py` gives a checkout: studies, toy pictures, weights files, a SLURM that answers.

Made with libraries only, always of the same bytes; nothing is imported from the project.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image

CLASSES = ("negative", "neutral", "positive")
DRAWN = {"data.drawn.lfw_train": 75, "data.drawn.lfw_eval": 45, "data.drawn.real_test": 30,
         "data.drawn.people_train": 45}
SHORT = {"train.epochs": 2, "train.batch_size": 16, **DRAWN}
RECIPES: dict[str, Any] = {
    "schema": 1, "study": "recipes", "base": "configs/drawn.yaml", "set": SHORT,
    "grid": {"train_on": ["mlfw"], "seed": [0]}, "evaluate_on": ["real/test"],
    "resources": {"runs_per_job": 30}}
SMALL: dict[str, Any] = {
    "schema": 1, "study": "small", "base": "configs/drawn.yaml",
    "set": {**SHORT, "train.masks": {"template": "drawn"}, "train.mix": {"how": "either"}},
    "grid": {"recipe": ["scratch", "lp_ft"], "train_on": ["lfw"], "seed": [0, 1]},
    "evaluate_on": ["lfw/eval", "mlfw/eval", "real/test"],
    "gap": {"synthetic": "mlfw/eval", "real": "real/test"},
    "compare": {"recipes": {"over": "recipe", "on": ["mlfw/eval", "real/test"]}},
    "resources": {"runs_per_job": 30}}
LARGE: dict[str, Any] = {
    "schema": 1, "study": "large", "base": "configs/study2021.yaml",
    "grid": {"backbone": ["cbam_resnet50"], "recipe": ["scratch", "lp_ft", "lfw_then_target"],
             "train_on": ["mlfw"], "seed": [1, 2, 3]},
    "evaluate_on": ["real/test"],
    "resources": {"gpus": 2, "runs_per_job": 1, "time": "8:00:00"}}
SLURM_STUBS = {  # a dry run asks these; it submits nothing
    # a column more than commits of before ask for
    "sinfo": 'case "$*" in *%l*) more=" infinite" ;; esac; '
             "printf \"%s 64$more\\n\" {partitions}", "scontrol": "echo 'MaxArraySize = 1001'",
    "squeue": ":", "sacct": ":", "sbatch": "echo 'sbatch: a dry run submits nothing' >&2; exit 1"}


def write_world(folder: Path, profiles: Path) -> None:
    """Write `data/`, `cache/weights/` and `bin/` into a new folder.

    Args:
        profiles: the folder of the clusters that SLURM is to be.
    """
    folder.mkdir()
    write_data(folder / "data")
    write_weights(folder / "cache/weights")
    write_stubs(folder / "bin", profiles)


def write_data(folder: Path) -> None:
    """Write toy twins of the data sets of configs/base.yaml."""
    for name, masked in (("LFW-FER", False), ("M-LFW-FER", True), ("MANY-FER", True)):
        write_toy_split(folder / name / "train", range(20), masked)
        write_toy_split(folder / name / "eval", range(20, 24), masked)
    write_toy_split(folder / "REAL-FER/test", range(30, 36), masked=True)
    write_toy_split(folder / "FER2013/train", range(40, 60), masked=False)
    many = folder / "MANY-FER"
    (many / "pictures.csv").write_text("file,mask_type\n" + "".join(
        f"{path.relative_to(many)},style{number % 10}\n"
        for number, path in enumerate(sorted(many.rglob("*.png")))))


def write_toy_split(folder: Path, people: Iterable[int], masked: bool) -> None:
    """Write toy pictures, one a person and class: a bright bar says which class."""
    for person in people:
        for number, name in enumerate(CLASSES):
            random = np.random.default_rng([person, number])
            pixels = random.integers(40, 120, (48, 48, 3), np.uint8)
            pixels[16 * number : 16 * number + 16] += 90
            if masked:
                pixels[36:] = 230
            path = folder / name / f"Toy_Person{person:03}_{number:04}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path)


def write_weights(folder: Path) -> None:
    """Write weights files of the studies' backbones: zeros, of which one a tensor is stored.

    That of ResMasking is a ResNet-34's, whose stages it has.
    """
    import torch
    from pytorchcv.model_provider import get_model
    from torchvision.models import resnet34

    with torch.device("meta"):
        nets = {name: get_model(name) for name in ("cbam_resnet50", "vgg19", "mobilenet_w1")}
        nets["resmasking_dropout1"] = resnet34()
    folder.mkdir(parents=True)
    for name, net in nets.items():
        torch.save({key: torch.zeros((), dtype=value.dtype).expand(value.shape)
                    for key, value in net.state_dict().items()}, folder / f"{name}.pth")


def write_stubs(folder: Path, profiles: Path) -> None:
    """Write commands that answer as SLURM does, for the front of PATH."""
    contents = [yaml.safe_load(path.read_text()) for path in profiles.glob("*.yaml")]
    partitions = sorted({name for content in contents for key in ("partition", "report_partition")
                         for name in str(content.get(key) or "").split(",") if name})
    folder.mkdir()
    for name, line in SLURM_STUBS.items():
        stub = folder / name
        stub.write_text(f"#!/bin/sh\n{line.format(partitions=' '.join(partitions))}\n")
        stub.chmod(0o755)
