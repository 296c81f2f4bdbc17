"""Linear probes of one body that a job has to do train together, each as it would alone."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import TOY
from test_features import shown, weights
from test_training import epochs
from toy_parents import train_parent

from fer.checksums import xxh3_of
from fer.config.blocks import load_backbone
from fer.config.load import load_run
from fer.config.paths import cache, data_root, home
from fer.data.splits import pictures_of
from fer.models import registry
from fer.models.registry import build
from fer.study.expand import identify
from fer.study.inputs import InputDigests
from fer.study.run_folder import RunFolder, Store
from fer.train import probe_runs as together
from fer.train.callbacks import Callbacks
from fer.train.run_tasks import Task, work
from fer.train.stacked_probes import class_layer

SLOW = pytest.mark.slow

__all__ = ["shown"]  # a fixture


def probes(grid: list[dict[str, Any]], **more: Any) -> tuple[list[Task], list[RunFolder]]:
    """Return the tasks of linear probes and their folders; what they start from is trained."""
    tasks, folders = [], []
    for overrides in grid:
        own = {key.replace("__", "."): value for key, value in {**more, **overrides}.items()}
        changes = {**TOY, "keep.tensorboard": False, "recipe": "linear_probe", "train.epochs": 4,
                   **own}
        config = load_run("configs/drawn.yaml", changes)
        contents = InputDigests(data_root(), cache())
        *parents, run = identify(config, contents)
        for parent in parents:
            train_parent(parent)
        folder = Store(home()).folder(run)
        folder.register(run, {})
        split = {"real/test": contents.split("real/test", config.data)}
        tasks.append(Task(folder.path, split))
        folders.append(folder)
    return tasks, folders


@pytest.fixture
def together_seen(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Names of the runs of every group that trains together."""
    seen: list[list[str]] = []
    original = together.train_stacked

    def noting(folders: list[RunFolder], *more: Any) -> None:
        seen.append([folder.name for folder in folders])
        original(folders, *more)

    monkeypatch.setattr(together, "train_stacked", noting)
    return seen


GRID = [{"optim__lr": lr, "seed": seed, "optim__weight_decay": decay}
        for lr, decay in ((1e-3, 0.0), (2e-2, 0.3)) for seed in (0, 7)]


@pytest.mark.parametrize("more", [
    {}, *(pytest.param(one, marks=SLOW) for one in [
        {"optim__name": "radam", "optim__decay_norms_and_biases": True}, {"optim__name": "sgd"},
        {"schedule__name": "plateau", "schedule__patience": 0},
        {"train__early_stop": 1, "train__select": "best", "loss__label_smoothing": 0.2,
         "optim__clip_norm": 0.05},
        {"train__augment": "seed2021", "train__score": "loss", "train__epochs": 2}]),
    {"recipe__phases": [{"name": "probe", "train": ["head"], "views": 2,
                         "multipliers": {"head": 3.0}, "schedule": {"name": "constant"},
                         "optim": {"name": "sgd", "momentum": 0.5, "clip_norm": 0.2}}]},
], ids=lambda more: "-".join(more) or "adamw")
def test_together_they_end_as_each_would_alone(
    more: dict[str, Any], places: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    together_seen: list[list[str]],
) -> None:
    tasks, folders = probes(GRID, **more)
    assert work(tasks) == ["done"] * 4
    monkeypatch.setenv("FER_HOME", str(tmp_path / "alone"))
    single, others = probes(GRID, **more)
    assert [work([task]) for task in single] == [["done"]] * 4
    assert len(together_seen) == 1
    for one, two in zip(folders, others, strict=True):
        assert one.name == two.name
        for mine, theirs in zip(epochs(one), epochs(two), strict=True):
            assert mine.keys() == theirs.keys()
            assert mine["train_loss"] == pytest.approx(theirs["train_loss"], rel=1e-4)
            assert mine["lr"] == pytest.approx(theirs["lr"])
        facts = [json.loads((folder.path / "train.json").read_text()) for folder in (one, two)]
        scores = [found.pop("best_score") for found in facts]
        assert facts[0] == facts[1] and scores[0] == pytest.approx(scores[1], rel=1e-3)
        assert together_seen[0] == [folder.name for folder in folders]
        own, other = weights(one), weights(two)
        assert all(torch.allclose(own[key], other[key], atol=1e-4) for key in own)
        found = [json.loads(f.result("real/test").read_text()) for f in (one, two)]
        assert found[0]["confusion"] == found[1]["confusion"]


@pytest.mark.slow
def test_a_head_with_dropout_drops_what_it_would_alone(
    places: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, together_seen: list[list[str]]
) -> None:
    wide = {"backbone": "resnet18", "backbone.input_size": 32, "recipe.init.source": "scratch"}
    build_plain = registry.build

    def with_dropout(backbone: Any, classes: Any) -> Any:
        model = build_plain(backbone, classes)
        model.net.output = torch.nn.Sequential(torch.nn.Dropout(0.5), model.net.output)
        return model

    monkeypatch.setattr("fer.train.context.build", with_dropout)
    grid = [{"optim__lr": lr} for lr in (1e-3, 1e-2)]
    tasks, folders = probes(grid, **wide)
    assert work(tasks) == ["done"] * 2 and len(together_seen[0]) == 2
    monkeypatch.setenv("FER_HOME", str(tmp_path / "alone"))
    single, others = probes(grid, **wide)
    assert [work([task]) for task in single] == [["done"]] * 2
    for one, two in zip(folders, others, strict=True):
        mine, theirs = ([line["train_loss"] for line in epochs(f)] for f in (one, two))
        assert mine == pytest.approx(theirs, rel=1e-4)


def test_all_of_them_take_one_forward_pass_a_picture(places: Path, shown: list[int]) -> None:
    tasks, folders = probes(GRID)
    shown.clear()
    assert work(tasks) == ["done"] * 4
    config = folders[0].config
    counts = {part: len(pictures_of(part, config.data, data_root()))
              for part in ("lfw/train", "lfw/val", "real/test")}
    checks = 2 * 3  # one picture of each split, to see that the head is the last thing
    assert sum(shown) == 4 * counts["lfw/train"] + counts["lfw/val"] + counts["real/test"] + checks


def test_one_that_diverges_fails_alone_with_its_own_words(places: Path) -> None:
    tasks, folders = probes([{"optim__lr": 1e-3}, {"optim__lr": 1e30}, {"optim__lr": 1e-2}],
                            optim__name="sgd", optim__clip_norm=None)
    assert work(tasks) == ["done", "failed", "done"]
    assert "the loss is" in folders[1].status().error


@pytest.mark.slow
def test_asked_to_leave_it_keeps_nothing_and_they_are_done_later(places: Path) -> None:
    tasks, folders = probes(GRID)
    calls = iter(range(1000))
    outcomes = work(tasks, Callbacks(stop_requested=lambda: next(calls) > 6))
    assert outcomes == ["preempted"] and not any(folder.trained for folder in folders)
    assert {folder.status().state for folder in folders} == {"preempted"}
    assert not list(places.glob("runs/*linear_probe*/checkpoints/step-*"))  # together again then
    assert work(tasks) == ["done"] * 4


@pytest.mark.parametrize("how", ["cancelled", "taken"])
def test_a_run_that_is_not_to_be_worked_on_is_left_alone(
    how: str, places: Path, together_seen: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks, folders = probes(GRID)
    if how == "cancelled":
        (folders[1].path / "cancel").touch()
    else:
        holder = subprocess.Popen([sys.executable, "-c", "import sys; from pathlib import Path; "
                                   "from fer.study.lease import Lease; "
                                   "Lease(Path(sys.argv[1])).take(); print(1, flush=True); input()",
                                   str(folders[1].path / "lease")], stdin=subprocess.PIPE,
                                  stdout=subprocess.PIPE)
        assert holder.stdout is not None and holder.stdout.readline()
    assert work(tasks) == ["done", how, "done", "done"]
    assert len(together_seen[0]) == 3
    if how == "taken":
        holder.kill()
        holder.wait()


def test_cancelled_while_it_trains_it_is_dropped_and_the_others_go_on(
    places: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks, folders = probes(GRID)
    monkeypatch.setattr("fer.train.run_logger.HEARTBEAT_SECONDS", 0.0)
    original = together.train_probes

    def cancelling(*arguments: Any) -> Any:
        for number, line in enumerate(original(*arguments)):
            if number == 1:
                (folders[1].path / "cancel").touch()
            yield line

    monkeypatch.setattr(together, "train_probes", cancelling)
    assert work(tasks) == ["done", "cancelled", "done", "done"]
    assert not folders[1].trained


@pytest.mark.slow
def test_killed_between_its_two_checkpoints_it_is_trained_anew(places: Path) -> None:
    """Weights of the best epoch alone are nothing to go on from."""
    tasks, folders = probes(GRID[:2])
    assert work(tasks) == ["done", "done"]
    facts = (folders[0].path / "train.json").read_text()
    (folders[0].path / "train.json").unlink()
    checkpoints = folders[0].path / "checkpoints"
    kept = sorted(checkpoints.glob("step-*"))[0]
    state = json.loads((kept / "state.json").read_text())
    state |= {"finished": False, "phase_epoch": 1}
    (kept / "state.json").write_text(json.dumps(state))
    manifest = json.loads((kept / "manifest.json").read_text())
    manifest["files"]["state.json"] = {"bytes": (kept / "state.json").stat().st_size,
                                       "xxh3": xxh3_of(kept / "state.json")}
    (kept / "manifest.json").write_text(json.dumps(manifest))
    for other in sorted(checkpoints.glob("step-*"))[1:]:
        shutil.rmtree(other)
    assert work(tasks[:1]) == ["done"]
    again = json.loads((folders[0].path / "train.json").read_text())
    assert again["best_epoch"] == json.loads(facts)["best_epoch"]


@pytest.mark.slow
def test_probes_that_average_their_weights_train_alone(places: Path) -> None:
    _, folders = probes([{"seed": 1}, {"seed": 2}], recipe__phases=[
        {"name": "probe", "train": ["head"], "views": 2, "average": {"how": "ema"}}])
    assert [together.untrained_kind(folder) for folder in folders] == [None, None]


@pytest.mark.parametrize("overrides", [
    {"train__batch_size": 8}, {"recipe__init__source": "scratch"}, {"train__augment": "none"},
    {"recipe": "lp_ft"}], ids=lambda overrides: next(iter(overrides)))
def test_runs_that_differ_otherwise_do_not_go_together(
    overrides: dict[str, Any], places: Path
) -> None:
    _, folders = probes([{"seed": 1}, {"seed": 2, **overrides}, {"seed": 3, **overrides}])
    kinds = [together.untrained_kind(folder) for folder in folders]
    assert kinds[0] is not None and kinds[0] != kinds[1]
    alone = overrides.keys() & {"recipe", "recipe__init__source"}
    assert (kinds[1] == kinds[2]) is ("recipe__init__source" not in alone)


def test_heads_of_several_layers_are_not_stacked() -> None:
    model = build(load_backbone("resmasking_tiny"), ("a", "b", "c"))
    assert class_layer(model) is model.head
    model.net.fc = torch.nn.Sequential(torch.nn.Linear(32, 8), torch.nn.ReLU(),
                                       torch.nn.Linear(8, 3))
    assert class_layer(model) is None
