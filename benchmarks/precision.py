"""Epoch time in bf16 against float32, and channels_last against contiguous; reported, no target.

On a CPU without bf16 instructions, bf16 is slower: it is meant for GPUs. The losses of both are
compared loosely, since rounding differs.
"""

import tempfile
from dataclasses import replace
from pathlib import Path

from step_overhead import Ours, made_source
from timing import Comparison, side_by_side  # first: it pins the threads

from fer.config.load import load_run
from fer.train.context import new_model
from fer.train.distributed import open_session

PAIRS = {"bf16 against float32": ({"compute.precision": "bf16"}, {}),
         "channels_last against contiguous": ({}, {"compute.channels_last": False})}


def measure(quick: bool = False) -> list[Comparison]:
    """Return the epoch time of cbam_tiny under each setting against its alternative."""
    return [_compare(name, *sides, rounds=1 if quick else 7) for name, sides in PAIRS.items()]


def _compare(name: str, one: dict[str, object], two: dict[str, object], rounds: int) -> Comparison:
    with tempfile.TemporaryDirectory() as place:
        epochs = []
        for number, changes in enumerate((one, two)):
            config = load_run("configs/drawn.yaml", {
                "backbone": "cbam_tiny", "schedule.name": "constant", "keep.every_minutes": 1000,
                "schedule.warmup_epochs": 0, "loss.class_weights": "none", **changes})
            folder = Path(place) / str(number)
            with open_session(config.compute) as session:
                source = made_source(folder / "made", 48, config.data.classes)
                model, _ = new_model(config, session)
                ours = Ours(config, session, source, folder, model)

            def epoch(ours: Ours = ours, compute=config.compute) -> None:  # type: ignore[no-untyped-def]
                with open_session(compute) as session:
                    ours.context = replace(ours.context, session=session)
                    ours.epoch()

            epochs.append(epoch)
        return side_by_side(f"epoch of cbam_tiny, {name}", *epochs, rounds, None)


if __name__ == "__main__":
    print(measure())
