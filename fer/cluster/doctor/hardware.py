"""Checks of Python, torch, CUDA, driver and GPUs on this machine."""

import json
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

from fer.cluster.doctor.finding import Finding, failure, ok, warning
from fer.safe_path import python

LEAST_PYTHON = (3, 10)
LEAST_TORCH = (2, 10)  # first version in which weights_only=True is safe
LEAST_DRIVER = {11: 450, 12: 525, 13: 580}  # NVIDIA's table of minor-version compatibility
PROBE = """
import json, torch
print(json.dumps({"torch": torch.__version__, "cuda": torch.version.cuda,
    "nccl": torch.distributed.is_nccl_available(), "gpus": [torch.cuda.get_device_name(i)
    for i in range(torch.cuda.device_count())] if torch.cuda.is_available() else []}))
"""


def check_machine() -> Iterator[Finding]:
    """Yield findings on this machine; a login node without GPUs is fine."""
    version = platform.python_version()
    if sys.version_info[:2] < LEAST_PYTHON:
        yield failure("Python", version, "create an environment with Python 3.10 or newer")
    else:
        yield ok("Python", version)
    about = _torch()
    if about is None:
        yield failure("torch", "cannot be imported", f"{sys.executable} -m pip install -e .")
        return
    yield _torch_version(about)
    yield from _gpus(about, _driver())


def _torch() -> dict[str, Any] | None:
    done = subprocess.run(python("-c", PROBE), capture_output=True, text=True)
    return dict(json.loads(done.stdout)) if done.returncode == 0 else None


def _torch_version(about: dict[str, Any]) -> Finding:
    numbers = tuple(int(part) for part in about["torch"].split("+")[0].split(".")[:2])
    if numbers < LEAST_TORCH:
        return failure("torch", about["torch"], "pip install 'torch>=2.10' (CVE-2025-32434)")
    return ok("torch", f"{about['torch']}, CUDA {about['cuda'] or 'none (CPU build)'}")


def _driver() -> str:
    """Return the version of the NVIDIA driver; empty if there is none."""
    if shutil.which("nvidia-smi") is None:
        return ""
    done = subprocess.run(["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"],
                          capture_output=True, text=True)
    return done.stdout.split("\n")[0].strip() if done.returncode == 0 else ""


def _gpus(about: dict[str, Any], driver: str) -> Iterator[Finding]:
    if not driver:
        yield ok("GPU", "no GPU and no driver: fine on a login node and for small backbones")
        return
    yield driver_finding(driver, about["cuda"])
    if not about["gpus"]:
        yield failure("GPU", f"driver {driver}, but torch sees no GPU",
                      "check nvidia-smi and CUDA_VISIBLE_DEVICES; a CPU build of torch sees no GPU")
        return
    yield ok("GPU", ", ".join(about["gpus"]))
    if not about["nccl"]:
        yield failure("NCCL", "not in this build of torch", "pip install torch (a CUDA build)")


def driver_finding(driver: str, cuda: str | None) -> Finding:
    """Check whether a driver is new enough for a build of torch."""
    if not cuda:
        return warning("driver", f"{driver}, but torch is a CPU build",
                       "pip install torch (a CUDA build)")
    least = LEAST_DRIVER.get(int(cuda.split(".")[0]))
    if least and int(driver.split(".")[0]) < least:
        return failure("driver", f"{driver} is too old for CUDA {cuda}, which needs {least}",
                       "install a newer driver, or a torch for an older CUDA: "
                       "pip install torch --index-url https://download.pytorch.org/whl/cu126")
    return ok("driver", f"{driver}, supports CUDA {cuda}")
