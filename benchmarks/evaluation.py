"""Evaluation of a checkpoint on a test set, compared with the 2021 tool, one image at a time.

Both sides read the same JPEGs and use all cores; equal logits are asserted. The time of ours
includes building the pack and converting a copy of the model to channels_last.
"""

import copy
import os
import tempfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from timing import Comparison, side_by_side  # first: it pins the threads

from fer.config.load import load_run
from fer.config.run import Compute
from fer.data.pack import ensure_pack
from fer.data.pixels import Source
from fer.models.classifier import Classifier
from fer.models.registry import build
from fer.train.distributed import open_session
from fer.train.predict import predict_logits

PEOPLE, QUICK_PEOPLE = 45, 4  # three images each: 135, the number of masked faces in the 2021 study
SIZE, QUICK_SIZE = 224, 48
CLASSES = ("negative", "neutral", "positive")
BATCH = 16
TARGETS = {"cpu": {"resmasking_dropout1": 1 / 1.3, "cbam_resnet50": None},  # None: reported
           "cuda": {"resmasking_dropout1": 1 / 20, "cbam_resnet50": 1 / 20}}


def write_pictures(root: Path, people: int) -> list[Path]:
    """Write 250 px JPEGs in the layout of LFW-FER; return them in the order of the pack."""
    files = []
    for person in range(people):
        for number, name in enumerate(CLASSES):
            rng = np.random.default_rng(person * 3 + number)
            small = rng.integers(0, 255, (25, 25, 3), dtype=np.uint8)
            path = root / "made/eval" / name / f"Made_{person:04}_{number}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(small).resize((250, 250), Image.Resampling.BICUBIC).save(path)
            files.append(path)
    return sorted(files)


def one_by_one(model: Classifier, files: list[Path], size: int) -> np.ndarray:
    """Return logits as in the 2021 tool: open, resize, convert to a tensor, one forward pass."""
    from torchvision.transforms import v2

    to_input = v2.Compose([v2.Resize(size), v2.CenterCrop(size), v2.ToImage(),
                           v2.ToDtype(torch.float32, scale=True)])
    logits, device = [], next(model.parameters()).device
    model.eval()
    with torch.no_grad():
        for file in files:
            with Image.open(file) as image:
                logits.append(model(to_input(image.convert("RGB"))[None].to(device)))
    return torch.cat(logits).cpu().numpy()


def measure(quick: bool) -> list[Comparison]:
    """Return the time of ours against the loop for the two backbones of the 2021 study."""
    threads = torch.get_num_threads()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    targets = {"resmasking_tiny": None} if quick else TARGETS[device]
    try:
        with tempfile.TemporaryDirectory() as folder:
            files = write_pictures(Path(folder), QUICK_PEOPLE if quick else PEOPLE)
            size = QUICK_SIZE if quick else SIZE
            return [_compare(backbone, Path(folder), files, size, target, device)
                    for backbone, target in targets.items()]
    finally:
        torch.set_num_threads(threads)


def _compare(backbone: str, root: Path, files: list[Path], size: int, target: float | None,
             device: str) -> Comparison:
    config = load_run("configs/drawn.yaml", {
        "backbone": backbone, "data.drawn": None, "data.sets.made.folder": "made",
        "backbone.input_size": size})
    torch.manual_seed(0)
    model = build(config.backbone, CLASSES).eval().to(device)
    compute = Compute.model_validate({"device": device, "threads": os.cpu_count() or 1})
    with open_session(compute) as session:
        def ours() -> np.ndarray:
            cache = Path(tempfile.mkdtemp(dir=root))  # a new cache, so the pack is built each time
            source = Source([ensure_pack("made/eval", config.data, root, size, cache)], device)
            fast = copy.deepcopy(model).to(memory_format=torch.channels_last)
            return predict_logits(session, fast, source, BATCH)

        def loop() -> np.ndarray:
            return one_by_one(model, files, size)

        assert np.abs(ours() - loop()).max() < 0.05, "the logits differ"  # logits spread by 15
        return side_by_side(f"evaluation of {backbone} on {len(files)} images, pack built "
                            "each time, against one by one", ours, loop, 3, target)


if __name__ == "__main__":
    print(*measure(False), sep="\n")
