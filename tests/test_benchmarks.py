"""The benchmarks run, compare equal work, and say what they found; no test asserts a time."""

import json
import sys
from pathlib import Path

import pytest
from conftest import REPOSITORY

sys.path.insert(0, str(REPOSITORY / "benchmarks"))

import timing

from fer.config.blocks import load_backbone
from fer.config.search import Scheduler
from fer.models.registry import build


@pytest.mark.slow
@pytest.mark.timeout(1300)  # a minute alone; it measures with all cores, which others use too
def test_make_bench_writes_a_row_a_measurement_with_its_interval(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, places: Path
) -> None:
    import run

    monkeypatch.setattr(sys, "argv", ["run.py", "--quick", "--json", str(tmp_path / "out.json")])
    code = run.main()
    rows = json.loads((tmp_path / "out.json").read_text())["results"]
    # a busy machine may miss a target, and then the exit code says so
    assert code == (0 if all(row["met"] for row in rows) else 1)
    names = " ".join(row["name"] for row in rows)
    for part in ("training loop", "input", "packing", "add and verify", "first batch", "probe",
                 "forward passes", "first step", "bf16", "checkpoint", "planning", "status",
                 "idle queue", "makespan", "evaluation of", "prediction of", "first result",
                 "EventAccumulator", "jackknife", "tables of"):
        assert part in names
    assert sum(row["target"] is not None for row in rows) >= 9
    assert all(row["low"] <= row["ratio"] <= row["high"] for row in rows)


def test_early_stopping_on_recorded_curves_saves_epochs_and_finds_the_best() -> None:
    import search_side

    curves = [[(30 - rank) / 30 * (1 - 0.6 ** epoch) for epoch in range(1, 10)]
              for rank in range(30)]
    shares = search_side.share_of_epochs(curves)
    assert len(shares) == 20 and shares[-1] < 0.7 and shares[0] > 0.1
    scores = search_side.best_so_far(curves, range(30), Scheduler(name="none"))
    assert len(scores) == 270 and scores[-1] == max(map(max, curves))
    short = search_side.best_so_far(curves, range(30), Scheduler(grace=2, reduction=3))
    assert len(short) < 200 and short[-1] == scores[-1]


@pytest.mark.parametrize("name", ["fine_tuning", "scratch"])
def test_the_demo_search_finds_the_best_of_recorded_trials_in_a_quarter_of_the_epochs(
    name: str
) -> None:
    import search_side

    found = search_side.asha(name)
    assert found.met and 0.1 < found.ratio < 0.25


def test_the_benchmark_of_a_gpu_compares_the_loops_that_it_says_on_a_cpu_at_least() -> None:
    """Stands for a GPU, which the tests have not: what is compared runs, its speed says nothing."""
    import gpu

    found = gpu.compare("resmasking_tiny", 48, "cpu", rounds=1, target=None)
    assert "resmasking_tiny at 48 px on a CPU" in found.name and "images/s" in found.name
    model = build(load_backbone("resmasking_tiny"), ("a", "b", "c"))
    assert 1e6 < gpu.operations(model, 48) < 1e9


def test_sides_take_turns_in_going_first() -> None:
    order: list[str] = []
    timing.side_by_side("x", lambda: order.append("ours"), lambda: order.append("theirs"), 2, 1.0)
    assert order[2:] == ["ours", "theirs", "theirs", "ours"]


@pytest.mark.parametrize(("better", "ratio", "met"), [
    ("below", 1.05, True), ("below", 1.2, False), ("above", 1.2, True), ("above", 1.05, False)])
def test_a_target_is_met_on_its_right_side_only(better: str, ratio: float, met: bool) -> None:
    one = timing.Comparison("x", 1, 1, "ms", ratio, ratio, ratio, 1.1, better)
    assert one.met == met
