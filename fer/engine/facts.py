"""What a run ran on: `env.json`. For the record, never read back by the code that trains."""

import platform
import subprocess
from collections.abc import Iterable
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from fer.config.identity import NUMERICS
from fer.config.places import REPOSITORY
from fer.config.schema import RunConfig
from fer.data.pack import Pack
from fer.engine.session import Session

PACKAGES = ("torch", "torchvision", "accelerate", "pytorchcv", "submitit", "numpy", "pillow",
            "safetensors")


def environment(config: RunConfig, session: Session, packs: Iterable[Pack]) -> dict[str, Any]:
    """Return package versions, commit, hardware, world size and data digests."""
    gpu = torch.cuda.get_device_name(session.device) if session.device.type == "cuda" else None
    return {
        "python": platform.python_version(),
        "packages": {name: version(name) for name in PACKAGES},
        "numerics": NUMERICS,
        "git": git_state(REPOSITORY),
        "host": platform.node(), "machine": platform.machine(), "gpu": gpu,
        "device": session.device.type, "world_size": session.world,
        "threads": torch.get_num_threads(), "precision": config.compute.precision,
        "digests": config.inputs.digests if config.inputs else {},
        "quarantined": [asdict(bad) for pack in packs for bad in pack.quarantine],
    }


def git_state(folder: Path) -> dict[str, Any]:
    """Return the commit and whether files differ from it; nulls where there is no git."""
    try:
        commit = _git(folder, "rev-parse", "HEAD").strip()
        return {"commit": commit, "dirty": bool(_git(folder, "status", "--porcelain").strip())}
    except (OSError, subprocess.CalledProcessError):
        return {"commit": None, "dirty": None}


def _git(folder: Path, *arguments: str) -> str:
    return subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True,
                          check=True).stdout
