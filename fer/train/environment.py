"""The environment of a run: `env.json`. For the record; training never reads it."""

import os
import platform
from contextlib import suppress
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from fer.config.paths import REPOSITORY
from fer.config.run import RunConfig
from fer.config.run_id import NUMERICS
from fer.config.selection import few_people_warning, kept_in_words
from fer.data.pixels import Source
from fer.study.job_environment import job_of_process, node_name
from fer.study.snapshot import git_state
from fer.train.distributed import Session

PACKAGES = ("torch", "torchvision", "accelerate", "pytorchcv", "submitit", "numpy", "pillow",
            "safetensors")


def cpu_name() -> str:
    """Return the kernel's name of the processor, or the platform's if there is none."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()


def _packages(config: RunConfig) -> tuple[str, ...]:
    return (*PACKAGES, "timm") if config.backbone.arch.startswith("timm/") else PACKAGES


def people_in(source: Source) -> int:
    """Return the number of people in a source; a picture of an unknown person counts as one."""
    identities = source.index().column("identity").to_pylist()
    return len(set(identities) - {""}) + identities.count("")


def _masks_in_words(source: Source) -> str:
    share = source.masked / source.n
    return f"masks drawn on {100 * share:.0f} % of them" if share else ""


def environment(config: RunConfig, session: Session, train: Source, val: Source
                ) -> dict[str, Any]:
    """Return package versions, commit, hardware, world size and data digests."""
    gpu = torch.cuda.get_device_name(session.device) if session.device.type == "cuda" else None
    return {
        "python": platform.python_version(),
        "packages": {name: version(name) for name in _packages(config)},
        "numerics": NUMERICS,
        "git": git_state(REPOSITORY),
        "host": platform.node(), "machine": platform.machine(), "cpu": cpu_name(),
        "gpu": gpu,
        "device": session.device.type, "world_size": session.world,
        "job": (job_of_process() or ("", 0))[0], "node": node_name(),
        "visible_gpus": os.environ.get("CUDA_VISIBLE_DEVICES"),
        "threads": torch.get_num_threads(), "precision": config.compute.precision,
        "digests": config.inputs.digests if config.inputs else {},
        "pictures": {f"{name}/{part}": pack.n + len(pack.quarantine)
                     for part, source in (("train", train), ("val", val))
                     for name, pack in zip(config.train_sets, source.packs, strict=True)},
        "validation_pictures": val.n,
        "validation_people": people_in(val), "validation_masks": _masks_in_words(val),
        "validation_drawn": val.drawn,
        "kept": kept_in_words(config),
        "few_people": few_people_warning(config, people_in(val)),
        **({"unlabelled": list(config.unlabelled)} if config.unlabelled else {}),
        "quarantined": [asdict(bad) for pack in (*train.packs, *val.packs)
                        for bad in pack.quarantine],
    }
