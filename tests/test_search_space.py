"""Search files: what is refused and how it is said, and what is drawn from a space."""

import json
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from conftest import REPOSITORY, TOY, launch
from hypothesis import given
from hypothesis import strategies as st

from fer.config.load import load_run, load_search
from fer.config.paths import data_root
from fer.config.search import Domain, Search
from fer.errors import CallerError
from fer.search.best import nested
from fer.search.space import configurations, draw
from fer.search.trial_runs import TrialFactory
from fer.study.expand import identify
from fer.study.inputs import InputDigests
from fer.study.run_folder import Store

LR = {"loguniform": [1e-4, 1e-1]}


def search(space: dict[str, Any], **more: Any) -> Search:
    """Return a search over a space."""
    return Search.model_validate({"search": "x", "base": "configs/drawn.yaml", "space": space,
                                  "budget": {"trials": 20}, **more})


@pytest.fixture
def written(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes a search file on the toy data."""
    def write(**more: Any) -> Path:
        content = {"schema": 1, "search": "toy-search", "space": {"optim.lr": LR},
                   "base": str(REPOSITORY / "configs/drawn.yaml"), "budget": {"trials": 4},
                   "set": {**TOY, "recipe": "scratch"}, **more}
        path = tmp_path / "search.yaml"
        path.write_text(yaml.safe_dump(content))
        return path

    return write


@given(st.floats(0, 1, exclude_max=True))
def test_every_draw_lies_in_its_domain(share: float) -> None:
    assert 0.001 <= Domain(loguniform=(0.001, 10)).at(share) <= 10
    assert -1 <= Domain(uniform=(-1, 1)).at(share) <= 1
    assert Domain(uniform=(0, 0.2), step=0.05).at(share) in (0, 0.05, 0.1, 0.15, 0.2)
    assert Domain(integer=(3, 9), step=3).at(share) in (3, 6, 9)
    assert 1 <= Domain(integer=(1, 100), log=True).at(share) <= 100
    assert Domain(choice=["a", None, {"b": 1}]).at(share) in ("a", None, {"b": 1})


def test_domains_are_drawn_from_evenly_on_their_own_scale() -> None:
    shares = (np.arange(9000) + 0.5) / 9000
    logs = np.log10([Domain(loguniform=(1e-4, 1e-1)).at(share) for share in shares])
    assert np.allclose(np.histogram(logs, 3, (-4, -1))[0], 3000, atol=3)
    whole = [Domain(integer=(1, 999), log=True).at(share) for share in shares]
    assert np.allclose(np.histogram(np.log10(whole), [0, 1, 2, 3.01])[0], 3000, atol=20)
    steps = [Domain(uniform=(0, 1), step=0.25).at(share) for share in shares]
    assert {steps.count(value) for value in (0, 0.25, 0.5, 0.75, 1)} == {1800}


def test_a_draw_depends_on_its_seed_number_and_key_alone() -> None:
    narrow, wide = search({"optim.lr": LR}), search({"optim.weight_decay": LR, "optim.lr": LR})
    assert [draw(narrow, n)["optim.lr"] for n in range(5)] == [
        draw(wide, n)["optim.lr"] for n in range(5)]
    assert draw(narrow, 0) != draw(narrow, 1)
    assert draw(narrow, 0) != draw(search({"optim.lr": LR}, seed=1), 0)


def test_a_conditional_key_is_there_exactly_when_its_condition_holds() -> None:
    space = {"optim.momentum": {"uniform": [0.5, 0.9], "when": {"optim.name": "sgd"}},
             "optim.name": {"choice": ["sgd", "adamw", "radam"]}}
    for one in (draw(search(space), number) for number in range(60)):
        assert ("optim.momentum" in one) == (one["optim.name"] == "sgd")
    space["optim.momentum"]["step"] = 0.2
    cells = list(configurations(search(space, searcher="grid", budget={})))
    assert len(cells) == 5 and len({json.dumps(cell) for cell in cells}) == 5


def test_a_small_space_is_used_up_and_no_configuration_comes_twice() -> None:
    small = search({"optim.name": {"choice": ["sgd", "adamw"]},
                    "train.batch_size": {"integer": [16, 48], "step": 16}})
    found = [json.dumps(one, sort_keys=True) for one in islice(configurations(small), 100)]
    assert len(found) == len(set(found)) == 6


def test_a_grid_crosses_the_values_in_order() -> None:
    cells = configurations(search({"optim.name": {"choice": ["sgd", "adamw"]},
                                   "train.epochs": {"integer": [1, 2]}}, searcher="grid"))
    assert [tuple(cell.values()) for cell in cells] == [
        ("sgd", 1), ("sgd", 2), ("adamw", 1), ("adamw", 2)]


@pytest.mark.parametrize(("more", "said"), [
    ({"space": {"optim.lrr": LR}}, "unknown key 'optim.lrr' (did you mean 'lr'?)"),
    ({"space": {"optim.lr": {"loguniform": [0.1, 0.001]}}}, "the lower bound comes first"),
    ({"space": {"optim.lr": {"uniform": [0.1, 0.1]}}}, "is empty"),
    ({"space": {"optim.lr": {"loguniform": [0, 1]}}}, "greater than 0"),
    ({"space": {"optim.name": {"choice": []}}}, "at least 1"),
    ({"space": {"optim.name": {"choice": ["sgd", "sgd"]}}}, "a value twice"),
    ({"space": {"optim.lr": {}}}, "exactly one of choice, uniform, loguniform, integer"),
    ({"space": {"optim.lr": {"loguniform": [0.1, 1], "step": 0.1}}}, "takes no step"),
    ({"space": {"optim.lr": {"uniform": [0.1, 1], "when": {"optim.name": "sgd"}}}},
     "is not a key of the space"),
    ({"space": {"optim.name": {"choice": ["sgd"]},
                "optim.lr": {"uniform": [0.1, 1], "when": {"optim.name": "adam"}}}},
     "is never 'adam'"),
    ({"space": {"optim.name": {"choice": ["sgd"], "when": {"optim.lr": [1.0]}},
                "optim.lr": {"uniform": [0.1, 1], "when": {"optim.name": "sgd"}}}},
     "are circular"),
    ({"space": {"optim.name": {"choice": ["adagrad"]}}}, "space.optim.name"),
    ({"space": {"seed": {"choice": [0, 1]}}}, "finalists.seeds"),
    ({"space": {"train_on": {"choice": ["lfw", "mlfw"]}}}, "run one search per value"),
    ({"space": {"data.val_seed": {"choice": [0, 1]}}}, "evaluated on"),
    ({"space": {"recipe": {"choice": ["scratch", "recommended"]}}}, "different masks"),
    ({"space": {"train.masks.probability": {"choice": [0.1, 0.9]}}}, "different masks"),
    ({"metric": "real/test/uar"}, "is of a test split"),
    ({"metric": "f2"}, "is not logged; logged on validation are: accuracy, loss, macro_f1, uar"),
    ({"metric": "loss", "mode": "max"}, "loss is best when it is lowest"),
    ({"searcher": "grid"}, "a grid needs a finite domain"),
    ({"searcher": "hyperopt"}, "'random', 'grid' or 'optuna'"),
    ({"scheduler": {"name": "pbt"}}, "'asha', 'median', 'hyperband' or 'none'"),
    ({"budget": {}}, "set trials, epochs or gpu_hours"),
    ({"finalists": {"best": 2, "seeds": [0, 0]}}, "names a seed twice"),
    ({"finalists": {"best": 2, "seeds": [0]}}, "at least 2"),
    ({"scheduler": {"name": "hyperband"}, "resources": {"gpus": 2}}, "hyperband pauses trials"),
    ({"resources": {"gpus": 1.5}}, "a fraction of one GPU or a whole number"),
    ({"base": "nowhere.yaml"}, "no such file"),
    ({"sppace": {}}, "unknown key 'sppace' (did you mean 'space'?)"),
])
def test_a_mistake_in_a_search_file_is_said_in_one_line(
    more: dict[str, Any], said: str, written: Callable[..., Path], places: Path
) -> None:
    with pytest.raises(CallerError) as caught:
        TrialFactory(load_search(written(**more)), InputDigests(places, places)).checked()
    assert said in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(("arguments", "said"), [
    (["--resume"], "no search 'toy-search' has been started"),
    *(pytest.param(*one, marks=pytest.mark.slow) for one in [
        (["compute.threads=512"], "needs 512 cores"),
        (["resources.gpus=2"], "needs its own SLURM job"),
        (["metric=mlfw/eval/uar"], "is of a test split"),
        (["space.optim.lrr={uniform: [1, 2]}"], "did you mean")]),
])
def test_the_command_says_it_in_one_line_with_code_two_and_starts_nothing(
    arguments: list[str], said: str, written: Callable[..., Path], places: Path
) -> None:
    done = launch("tune", written(), *arguments)
    assert done.returncode == 2 and said in done.stderr, done.stderr
    assert done.stderr.strip().count("\n") == 0 and not (places / "runs").exists()


def test_a_study_file_is_no_search_file_and_the_right_command_is_named() -> None:
    done = launch("tune", "sweeps/demo.yaml")
    assert done.returncode == 2 and "python launch/sweep.py sweeps/demo.yaml" in done.stderr
    done = launch("sweep", "sweeps/demo-search.yaml")
    assert done.returncode == 2 and "python launch/tune.py sweeps/demo-search.yaml" in done.stderr


def test_the_best_is_written_also_where_a_key_inside_a_named_block_was_searched(
    tmp_path: Path
) -> None:
    overrides = {"backbone": "cbam_tiny", "backbone.grey": True, "recipe": "scratch",
                 "optim.lr": 0.01}
    path = tmp_path / "best.yaml"
    path.write_text(yaml.safe_dump({"base": "configs/drawn.yaml", **nested(overrides, path)}))
    assert load_run(path) == load_run("configs/drawn.yaml", overrides)
    assert "recipe: scratch" in path.read_text()


def test_a_stop_that_came_too_late_is_forgotten_when_the_run_is_sent_again(places: Path) -> None:
    config = load_run("configs/drawn.yaml", {**TOY, "recipe": "scratch"})
    (run,) = identify(config, InputDigests(data_root(), places / "cache"))
    folder = Store(places).folder(run)
    folder.register(run, {})
    folder.ask_to_stop()
    assert folder.stop_asked
    folder.register(run, {})
    assert not folder.stop_asked


def test_optuna_is_missed_in_one_line(written: Callable[..., Path], places: Path,
                                      monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    from fer.search.searchers import OptunaSource

    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(CallerError, match="optuna is not installed; pip install"):
        OptunaSource(load_search(written(searcher="optuna")))
