"""What a study will take is said before: space and files at least what it takes, time as measured.
"""

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import TOY, launch, toy_arguments

Write = Callable[..., Path]
GRID = {"recipe": ["scratch", "lfw_then_target"], "train_on": ["mlfw"], "seed": [0, 1]}


def dry(study: Path, *words: object) -> str:
    done = launch("sweep", study, "--dry-run", *words)
    assert done.returncode == 0, done.stderr
    return done.stdout


def size(text: str) -> tuple[float, int]:
    """Return bytes and files of the line about the disk."""
    found = re.search(r"disk: at most ([\d.]+) (k?M?G?B) in ([\d,]+) files", text)
    assert found, text
    unit = {"B": 1, "kB": 1e3, "MB": 1e6, "GB": 1e9}[found[2]]
    return float(found[1]) * unit, int(found[3].replace(",", ""))


@pytest.mark.slow
def test_space_and_files_are_bounded_and_time_is_unknown_until_measured(
    places: Path, toy_study: Write
) -> None:
    study = toy_study(GRID)
    before = dry(study)
    assert "time: unknown for resmasking_tiny at 48 px" in before
    most_bytes, most_files = size(before)
    assert launch("sweep", study).returncode == 0
    entries = list((places / "runs").rglob("*"))
    taken = sum(os.path.getsize(path) for path in entries if path.is_file())
    assert 0.2 * most_bytes < taken <= most_bytes
    assert 0.7 * most_files < len(entries) <= most_files
    after = dry(toy_study({**GRID, "seed": [0, 1, 2]}))
    found = re.search(r"time: ([\d.]+) hours of computing for 3 runs, from (\d+) measured", after)
    assert found and float(found[1]) < 0.1 and int(found[2]) == 6
    assert "until the last run ends, with" in after
    assert "disk:" not in dry(toy_study(GRID))  # nothing is left to do


def test_a_configuration_that_was_measured_is_expected_to_take_what_it_took(
    places: Path, toy_study: Write
) -> None:
    from fer.cluster.estimate import History
    from fer.config.load import load_run
    from fer.config.paths import cache, data_root, home
    from fer.study.expand import identify
    from fer.study.inputs import InputDigests
    from fer.study.run_folder import Store

    assert launch("train", "configs/drawn.yaml", *toy_arguments(seed=3)).returncode == 0
    contents = InputDigests(data_root(), cache())
    history = History(Store(home()), contents)
    tree = {key: value for key, value in TOY.items()}
    (again,) = identify(load_run("configs/drawn.yaml", {**tree, "seed": 4}), contents)
    (longer,) = identify(load_run("configs/drawn.yaml", {**tree, "train.epochs": 30}), contents)
    (other,) = identify(load_run("configs/drawn.yaml", {**tree, "backbone": "cbam_tiny"}), contents)
    (folder,) = Store(home())
    assert history.seconds(again) == folder.status().seconds
    assert history.steps(longer.config) == 180  # 30 epochs of 6 steps
    ratio = (history.seconds(longer) or 0) / folder.status().seconds
    assert 9 < ratio < 11 and history.seconds(other) is None
    assert History(Store(home()), contents, ranks=8).seconds(again) is None  # measured on one


def test_a_larger_backbone_is_said_to_take_more(places: Path, toy_study: Write) -> None:
    grid = {"seed": [0]}
    small = size(dry(toy_study(grid, set={**TOY, "backbone": "cbam_tiny"})))
    plan = {"backbones": {"over": "backbone", "on": ["real/test"]}}
    gap = {"synthetic": "mlfw/eval", "real": ["real/test", "real/tset"]}
    text = dry(toy_study({"backbone": ["cbam_tiny", "resmasking_tiny"]}, compare=plan, gap=gap))
    assert text.count("gap.real: real/tset is not in evaluate_on, so the report has no gap on") == 1
    assert "power: backbones on real/test: no claim is possible: these trained models only" in text
    large = size(dry(toy_study(grid, set={**TOY, "backbone": "cbam_resnet50"})))
    assert large[0] > small[0] + 2 * 100e6 and large[1] == small[1]


def test_a_dry_run_draws_nothing_and_says_that_its_ids_are_provisional(
    places: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FER_DATA", str(tmp_path / "data"))
    small = [f"data.drawn.{name}=24" for name in ("lfw_train", "lfw_eval", "real_test",
                                                      "people_train")]
    study = Path("sweeps/demo.yaml")
    before = dry(study, *small)
    assert "provisional" in before and not (tmp_path / "data").exists()
    runs = re.compile(r"^(?:train|wait) +(\S+)-[0-9a-f]{8,}$", re.MULTILINE)
    assert len(set(runs.findall(before))) == int(before.split(" runs: ")[0].split()[-1])
    assert size(before)[0] > 0
    from rich.console import Console

    from fer.cluster.request import Request, expand_request

    expand_request(Request((str(study),), tuple(small)).study(), Console(quiet=True))
    after = dry(study, *small)
    assert "provisional" not in after and runs.findall(after) == runs.findall(before)
    assert size(after) == size(before)
    assert after != before
