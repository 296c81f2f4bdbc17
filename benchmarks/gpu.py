"""Full-size training on one GPU, compared with the 2021 loop: images/s, memory, share of the peak.

    python benchmarks/gpu.py          # requires a CUDA device

Ours is an epoch of the trainer as in a GPU run (bf16, channels_last, images resident on the device
and augmented there). The 2021 loop does what that study did, on the same card: float32, images
decoded to float on the host; per batch one transfer, forward, backward, step and `loss.item()`.
"""

import copy
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from step_overhead import PICTURES, Ours, made_source
from timing import Comparison, side_by_side  # first: it pins the threads
from torch.utils.flop_counter import FlopCounterMode

from fer.config.load import load_run
from fer.config.run import RunConfig
from fer.data.pixels import Source
from fer.models.classifier import Classifier
from fer.train.context import new_model
from fer.train.distributed import open_session
from fer.train.optim import make_optimizer
from fer.transfer.phases import param_groups

BACKBONES, SIZE, BATCH, ROUNDS = ("resmasking_dropout1", "cbam_resnet50"), 224, 48, 7
TARGET = 1 / 3  # of the loop's time
PEAKS = {"H200": 989e12, "H100": 989e12, "A100": 312e12, "L40S": 362e12, "A40": 150e12,
         "RTX 4090": 165e12, "A10": 125e12}
"""Dense bf16 FLOP/s with float32 accumulation, by a part of the card's name (data sheets)."""


def measure(quick: bool = False) -> list[Comparison]:
    """Return the epoch time of each backbone; an empty list without a GPU."""
    if not torch.cuda.is_available():
        return []
    return [compare(name, SIZE, "cuda", 2 if quick else ROUNDS) for name in BACKBONES]


def compare(backbone: str, size: int, device: str, rounds: int,
            target: float | None = TARGET) -> Comparison:
    """Return the epoch time of ours against the 2021 loop, with the throughput of ours in the name.
    """
    config = load_run("configs/drawn.yaml", {
        "backbone": backbone, "backbone.input_size": size, "train.batch_size": BATCH,
        "schedule.name": "constant", "schedule.warmup_epochs": 0, "loss.class_weights": "none",
        "keep.every_minutes": 1000, "recipe": "scratch", "compute.device": device,
        "compute.precision": "bf16" if device == "cuda" else "float32"})
    with tempfile.TemporaryDirectory() as place, open_session(config.compute) as session:
        folder = Path(place)
        on_host = made_source(folder / "made", size, config.data.classes)
        images = on_host.gather(np.arange(on_host.n)).permute(0, 3, 1, 2).contiguous()
        source = Source(on_host.packs, session.device)
        model, _ = new_model(config, session)
        theirs = loop_of_2021(config, images, copy.deepcopy(model).to(device))
        ours = Ours(config, session, source, folder, model)
        if device == "cuda":
            torch.cuda.reset_peak_memory_stats()
        found = side_by_side(f"epoch of {backbone} at {size} px on {_card(device)}",
                             lambda: _finished(ours.epoch, device),
                             lambda: _finished(theirs, device), rounds, target)
        rate = PICTURES / (found.ours / 1e3)
        figures = [f"{rate:,.0f} images/s"]
        if device == "cuda":
            figures.append(f"{torch.cuda.max_memory_allocated() / 1e9:.1f} GB")
        if (peak := next((value for name, value in PEAKS.items() if name in _card(device)), None)):
            figures.append(f"{100 * rate * operations(model, size) / peak:.0f} % of the peak")
        return Comparison(**{**found.__dict__, "name": f"{found.name}: {', '.join(figures)}"})


def loop_of_2021(config: RunConfig, images: torch.Tensor, model: Classifier
                 ) -> Callable[[], None]:
    """Return one epoch of the plain loop.

    Args:
        images: uint8 (N, 3, size, size) on the host.
    """
    device = next(model.parameters()).device
    model = model.float().to(memory_format=torch.contiguous_format)
    groups = param_groups(model, config.recipe.phases[0], config.optim)
    optimizer = make_optimizer(config.optim, groups)
    labels = torch.arange(len(images)) % 3

    def epoch() -> None:
        model.train()
        for rows in torch.randperm(len(images)).split(config.train.batch_size):
            batch = images[rows].float().div(255).to(device)
            loss = F.cross_entropy(model(batch), labels[rows].to(device))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            loss.item()

    return epoch


def operations(model: Classifier, size: int) -> float:
    """Return the floating-point operations of training on one image."""
    images = torch.zeros(2, 3, size, size, device=next(model.parameters()).device)
    with FlopCounterMode(display=False) as counter:
        model(images).sum().backward()
    model.zero_grad()
    return counter.get_total_flops() / 2


def _finished(action: Callable[[], None], device: str) -> None:
    action()
    if device == "cuda":
        torch.cuda.synchronize()


def _card(device: str) -> str:
    return torch.cuda.get_device_name() if device == "cuda" else "a CPU"


if __name__ == "__main__":
    rows = measure()
    print(*rows or ["no GPU: nothing was measured"], sep="\n")
