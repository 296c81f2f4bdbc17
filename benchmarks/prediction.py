"""`launch/predict.py` on pictures, one in twenty broken, against evaluation of the others.

Evaluation builds the pack of a split and predicts it. The probabilities are asserted equal. The
first result is timed from the start of a process, with compiled Python already there, and beside
one that imports torch and does nothing.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from evaluation import CLASSES, write_pictures
from timing import Comparison, seconds, side_by_side  # first: it pins the threads

from fer.config.load import load_run
from fer.config.paths import REPOSITORY
from fer.config.run import Compute
from fer.data.pack import ensure_pack
from fer.data.pixels import Source
from fer.evaluate.metrics import log_probabilities
from fer.inference.picture_files import find_pictures
from fer.inference.predictor import load
from fer.models.registry import build
from fer.models.weights import save_weights
from fer.train.distributed import open_session
from fer.train.predict import predict_logits

BACKBONE = "resmasking_tiny"
PEOPLE, QUICK_PEOPLE = 667, 4  # three pictures each: 2,001
BROKEN = 20  # one picture in so many
BATCH = 64
MOST = 1 / 0.8  # of evaluation's time
FIRST_S = 3.0
TOLERANCE = 1e-5


def measure(quick: bool = False) -> list[Comparison]:
    """Return the time of prediction against evaluation, and the time to the first result."""
    threads = torch.get_num_threads()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        files = write_pictures(root, QUICK_PEOPLE if quick else PEOPLE)
        for file in files[::BROKEN]:
            file.write_bytes(file.read_bytes()[:900])
        config = load_run("configs/drawn.yaml", {
            "backbone": BACKBONE, "data.drawn": None, "data.sets.made.folder": "made"})
        torch.manual_seed(0)
        weights = root / "model.safetensors"
        save_weights(build(config.backbone, CLASSES).eval(), weights)
        try:
            compute = Compute.model_validate({"device": "cpu", "threads": os.cpu_count() or 1})
            with open_session(compute) as session:
                return [_compare(root, weights, config, session, quick),
                        *_first(root, weights, 1 if quick else 5)]
        finally:
            torch.set_num_threads(threads)


def _compare(root: Path, weights: Path, config, session, quick: bool) -> Comparison:
    names = find_pictures([str(root / "made")])
    model = load(weights, device="cpu")

    def ours() -> np.ndarray:
        found = list(model.predict(names, BATCH, None))
        assert len(found) == len(names)
        return np.array([list(one.probabilities.values()) for one in found if not one.reason])

    def evaluation() -> np.ndarray:
        cache = Path(tempfile.mkdtemp(dir=root))  # a new cache, so the pack is built each time
        size = config.backbone.input_size
        source = Source([ensure_pack("made/eval", config.data, root, size, cache)], "cpu")
        return np.exp(log_probabilities(predict_logits(
            session, model.networks[0], source, BATCH)))

    assert np.abs(ours() - evaluation()).max() <= TOLERANCE, "the probabilities differ"
    return side_by_side(f"prediction of {BACKBONE} on {len(names)} images, 5 % broken, against "
                        "evaluation, pack built each time", ours, evaluation, 1 if quick else 5,
                        None if quick else MOST)


def _first(root: Path, weights: Path, rounds: int) -> list[Comparison]:
    """Return the seconds from the start of launch/predict.py to its first row, twice.

    Once in seconds, and once as a ratio to the import of torch, on which other work tells less.
    """
    name = f"first result of launch/predict.py with {BACKBONE}"
    bare = [sys.executable, "-c", "import torch"]
    pairs = [(_first_row(root, weights), seconds(lambda: subprocess.run(bare, check=True)))
             for _ in range(rounds + 1)][1:]  # without the warm-up
    found, ratios = sorted(own for own, _ in pairs), sorted(own / peer for own, peer in pairs)
    middle, peer = statistics.median(found), statistics.median(peer for _, peer in pairs)
    return [Comparison(name, middle, None, "s", middle, found[0], found[-1],
                       FIRST_S if rounds > 1 else None),
            Comparison(f"{name}, against the import of torch", middle, peer, "s",
                       statistics.median(ratios), ratios[0], ratios[-1], None)]


def _first_row(root: Path, weights: Path) -> float:
    begun = time.perf_counter()
    command = [sys.executable, str(REPOSITORY / "launch/predict.py"), str(weights),
               str(root / "made")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        header, row = process.stdout.readline(), process.stdout.readline()
        assert header.startswith(b"file,") and row.strip()
        passed = time.perf_counter() - begun
        process.terminate()
    return passed


if __name__ == "__main__":
    print(*measure("--quick" in sys.argv), sep="\n")
