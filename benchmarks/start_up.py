"""Time from process start to the first step of a run, against bare imports and the same model.

The bare side imports the libraries that any such run needs (torch, Accelerate, NumPy, safetensors,
pydantic, YAML), opens an Accelerator and builds the network with an optimiser. Ours also reads the
run folder, takes its lease, opens packs, computes class weights, writes env.json and status, and
takes a step. Packs and compiled Python exist before either is timed.
"""

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from timing import Comparison  # first: it pins the threads

from fer.config.load import load_run
from fer.config.paths import cache, data_root, home
from fer.study.expand import identify
from fer.study.inputs import InputDigests
from fer.study.run_folder import Store

BACKBONE = "resmasking_tiny"
OURS = """
import sys, time
from pathlib import Path
from fer.train.callbacks import Callbacks
from fer.train.run_tasks import Task, work
def stop():
    print(time.time(), flush=True)
    return True
work([Task(Path(sys.argv[1]))], Callbacks(stop_requested=stop))
"""
BARE = f"""
import time
import numpy, safetensors.torch, torch, yaml, pydantic
from accelerate import Accelerator
Accelerator(cpu=True)
from fer.config.blocks import load_backbone
from fer.models.registry import build
model = build(load_backbone("{BACKBONE}"), ("a", "b", "c"))
torch.optim.AdamW(model.parameters())
print(time.time(), flush=True)
"""


def seconds_of(script: str, *arguments: str) -> float:
    """Return the seconds from starting a process to the time it prints first."""
    begun = time.time()
    done = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True,
                          text=True, check=True)
    return float(done.stdout.split()[0]) - begun


def measure(quick: bool = False) -> list[Comparison]:
    """Return the ratio of the times to the first step."""
    from probes import write_pictures

    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        write_pictures(root / "data", 20)
        os.environ |= {"FER_DATA": str(root / "data"), "FER_CACHE": str(root / "cache"),
                       "FER_HOME": str(root)}
        config = load_run("configs/drawn.yaml", {
            "backbone": BACKBONE, "recipe": "scratch", "data.drawn": None, "train_on": "made",
            "data.sets": {"made": {"folder": "made"}}})
        (run,) = identify(config, InputDigests(data_root(), cache()))
        folder = Store(home()).folder(run)
        folder.register(run, {})
        seconds_of(OURS, str(folder.path)), seconds_of(BARE)
        pairs = []
        for number in range(1 if quick else 9):
            shutil.rmtree(folder.path / "checkpoints", ignore_errors=True)
            sides = [lambda: seconds_of(OURS, str(folder.path)), lambda: seconds_of(BARE)]
            first = number % 2
            found = {first: sides[first](), 1 - first: sides[1 - first]()}
            pairs.append((found[0], found[1]))
    ratios = sorted(own / bare for own, bare in pairs)
    return [Comparison("process start to first step, against imports and the model",
                       statistics.median(own for own, _ in pairs) * 1e3,
                       statistics.median(bare for _, bare in pairs) * 1e3, "ms",
                       statistics.median(ratios), ratios[0], ratios[-1], 1.2)]


if __name__ == "__main__":
    print(measure())
