"""Searches on a real Ray: killed, interrupted, continued, and what they hand over."""

import io
import json
import os
import random
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from conftest import REPOSITORY, TOY, launch
from rich.console import Console
from test_resume import numbers

from fer.cluster.request import expand_request
from fer.config.load import load_run, load_search, load_study
from fer.config.search import Budget
from fer.errors import CallerError
from fer.search.fold_trial import pooled_score
from fer.search.options import TrialSlots
from fer.search.ray_local import PREFIX
from fer.search.trial_record import Entry, Record
from fer.search.trial_table import SearchProgress
from fer.study.folds import other_folds
from fer.study.run_folder import RunFolder

Start = Callable[..., subprocess.Popen[str]]
SPACE = {"optim.lr": {"loguniform": [1e-4, 1e-1]},
         "optim.name": {"choice": ["adamw", "sgd"]},
         "optim.momentum": {"uniform": [0.5, 0.95], "step": 0.15, "when": {"optim.name": "sgd"}}}

pytestmark = pytest.mark.timeout(1300)
PATIENCE_S = 900.0  # half a minute alone; beside benchmarks that take all cores ten times as long
launch = partial(launch, timeout=PATIENCE_S)


def write_search(folder: Path, **more: Any) -> Path:
    """Write a search file on the toy data."""
    content = {
        "schema": 1, "search": "toy-search", "base": str(REPOSITORY / "configs/drawn.yaml"),
        "set": {**TOY, "recipe": "scratch", "keep.every_minutes": 0.002}, "space": SPACE,
        "scheduler": {"name": "asha", "grace": 1, "reduction": 2}, "budget": {"trials": 6}, **more}
    path = folder / "toy-search.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def trials(home: Path) -> list[dict[str, Any]]:
    """Return the trials on record."""
    content = json.loads((home / "studies/toy-search/trials.json").read_text())
    return list(content["trials"])


def facts(home: Path) -> list[tuple[object, ...]]:
    """Return what must be the same however often a search was interrupted."""
    return [(trial["number"], trial["run"], trial["seed"], trial["state"], trial["curve"])
            for trial in trials(home)]


def wait_until(true: Callable[[], bool], patience: float = PATIENCE_S) -> None:
    """Wait for something that a process does."""
    deadline = time.monotonic() + patience
    while not true():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.05)


def epochs(home: Path) -> int:
    """Return how many epochs the runs have trained."""
    return sum(len(path.read_text().splitlines()) for path in home.glob("runs/*/metrics.jsonl"))


def left_behind(pid: int) -> list[Path]:
    """Return the folders of a driver's Ray."""
    return list(Path("/tmp").glob(f"{PREFIX}{pid}-*"))


def family(pid: int) -> list[psutil.Process]:
    """Return a driver and everything that it started."""
    process = psutil.Process(pid)
    return [process, *process.children(recursive=True)]


@pytest.fixture(scope="module")
def calm(toy_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """FER_HOME of a search with finalists that nothing disturbed, one trial at a time."""
    home = tmp_path_factory.mktemp("calm search")
    file = write_search(home, finalists={"best": 2, "seeds": [0, 1]})
    done = launch("tune", file, "--slots", 1, FER_DATA=str(toy_data), FER_HOME=str(home),
                  FER_CACHE=str(home / "cache"))
    assert done.returncode == 0, done.stdout + done.stderr
    return home


def test_a_search_ends_with_its_trials_their_repetitions_and_the_best(calm: Path) -> None:
    found = trials(calm)
    assert [trial["number"] for trial in found if trial["seed"] is None] == list(range(6))
    assert [trial["seed"] for trial in found[6:]] == [0, 1, 0, 1]
    assert all(trial["state"] in ("done", "stopped") for trial in found)
    assert any(trial["state"] == "stopped" for trial in found)
    for trial in found:
        run = RunFolder(calm / "runs" / trial["run"])
        lines = (run.path / "metrics.jsonl").read_text().splitlines()
        assert len(lines) >= len(trial["curve"]) and run.lease.owner() is None
        assert run.status().state in ("done", "stopped")
    finalists = [trial for trial in found if trial["seed"] is not None]
    best = json.loads((calm / "studies/toy-search/best.json").read_text())
    means = {json.dumps(one["params"]): [] for one in finalists}
    for one in finalists:
        means[json.dumps(one["params"])].append(one["score"])
    assert best["score"] == pytest.approx(max(sum(v) / len(v) for v in means.values()))
    assert len(best["scores"]) == 2


def test_status_shows_a_search_best_trial_first_and_refuses_what_is_not_its_own(
    calm: Path, toy_data: Path
) -> None:
    env = {"FER_DATA": str(toy_data), "FER_HOME": str(calm), "COLUMNS": "200"}
    done = launch("status", "toy-search", **env)
    assert done.returncode == 0, done.stderr
    header, first, *rest = done.stdout.splitlines()
    assert {"trial", "epoch", "macro_f1", "lr", "momentum", "node"} <= {*header.split()}
    top = max(trial["score"] for trial in trials(calm))
    assert f"{top:.4f}" in first and len(rest) + 1 == len(trials(calm))
    listed = launch("status", calm / "toy-search.yaml", "--json", **env)  # by its file
    assert json.loads(listed.stdout) == trials(calm)
    refused = launch("status", "toy-search", "--cancel", "done", **env)
    assert refused.returncode == 2 and "Ctrl-C" in refused.stderr
    assert refused.stderr.count("\n") == 1


@pytest.mark.slow
def test_killed_twice_it_ends_with_the_trials_and_the_best_of_an_uninterrupted_one(
    calm: Path, places: Path, start: Start
) -> None:
    file = write_search(places.parent, finalists={"best": 2, "seeds": [0, 1]})
    moments = random.Random(3)
    for _ in range(2):
        driver = start("tune", file, "--slots", 1)
        begun = epochs(places)
        wait_until(lambda begun=begun: epochs(places) > begun)  # type: ignore[misc]
        time.sleep(moments.uniform(0, 3))
        children = family(driver.pid)
        os.kill(driver.pid, signal.SIGKILL)
        driver.wait()
        psutil.wait_procs(children, timeout=120)
        assert not [process for process in children if process.is_running()
                    and process.status() != psutil.STATUS_ZOMBIE]
    done = launch("tune", file, "--slots", 1, "--resume")
    assert done.returncode == 0, done.stdout + done.stderr
    assert facts(places) == facts(calm)
    assert best_of(places) == best_of(calm)
    assert not left_behind(driver.pid)


def best_of(home: Path) -> dict[str, Any]:
    """Return the best configuration without what is of its place."""
    found = json.loads((home / "studies/toy-search/best.json").read_text())
    return {key: found[key] for key in ("trial", "params", "score", "scores", "runs")}


@pytest.mark.slow
def test_with_two_slots_none_is_lost_or_doubled_and_nothing_is_trained_twice(
    places: Path, start: Start
) -> None:
    file = write_search(places.parent)
    driver = start("tune", file, "--slots", 2)
    wait_until(lambda: epochs(places) > 2)
    os.kill(driver.pid, signal.SIGKILL)
    driver.wait()
    done = launch("tune", file, "--slots", 2)
    assert done.returncode == 0, done.stdout + done.stderr
    found = trials(places)
    assert [trial["number"] for trial in found] == list(range(6))
    assert len({trial["run"] for trial in found}) == len(list((places / "runs").iterdir())) == 6
    stamps = {path: path.stat().st_mtime_ns for path in places.glob("runs/*/train.json")}
    again = launch("tune", file, "--slots", 2)
    assert again.returncode == 0, again.stderr
    assert stamps.items() <= {path: path.stat().st_mtime_ns
                              for path in places.glob("runs/*/train.json")}.items()


@pytest.mark.slow
def test_one_local_driver_works_on_a_search_on_loopback_only_and_ctrl_c_leaves_nothing_behind(
    places: Path, start: Start
) -> None:
    file = write_search(places.parent, set={**TOY, "recipe": "scratch", "train.epochs": 40})
    driver = start("tune", file)
    wait_until(lambda: epochs(places) > 0)
    listening = [connection for process in family(driver.pid)
                 for connection in process.net_connections("inet")
                 if connection.status == psutil.CONN_LISTEN]
    assert len(listening) >= 3
    beyond = [c.laddr for c in listening if c.laddr.ip not in ("127.0.0.1", "::1",
                                                               "::ffff:127.0.0.1")]
    assert not beyond
    (folder,) = left_behind(driver.pid)
    assert folder.stat().st_mode & 0o077 == 0
    second = launch("tune", file)
    assert second.returncode == 2 and "is being worked on" in second.stderr
    assert second.stderr.count("\n") == 1
    children = family(driver.pid)
    os.killpg(driver.pid, signal.SIGINT)
    output, _ = driver.communicate(timeout=PATIENCE_S)
    assert driver.returncode == 130 and "to resume" in output and "Traceback" not in output, output
    _, alive = psutil.wait_procs(children, timeout=120)
    assert not alive and not left_behind(driver.pid)
    states = {RunFolder(path).status().state for path in (places / "runs").iterdir()}
    assert states <= {"preempted", "stopped", "done", "pending"} and "preempted" in states


def test_the_best_configuration_is_trained_by_train_and_taken_by_a_study(
    calm: Path, toy_data: Path, tmp_path: Path
) -> None:
    best = calm / "studies/toy-search/best.yaml"
    places = {"FER_DATA": str(toy_data), "FER_HOME": str(calm),
              "FER_CACHE": str(calm / "cache")}
    assert "# Found by search toy-search: trial" in best.read_text()
    (run, *_) = json.loads(best.with_suffix(".json").read_text())["runs"]
    stamp = (calm / "runs" / run / "train.json").stat().st_mtime_ns
    done = launch("train", best, **places)
    assert done.returncode == 0, done.stderr
    assert run in done.stdout  # the very run, so it is not trained again
    assert (calm / "runs" / run / "train.json").stat().st_mtime_ns == stamp
    study = tmp_path / "after.yaml"
    study.write_text(yaml.safe_dump({
        "schema": 1, "study": "after", "base": str(best), "grid": {"seed": [0, 1]},
        "evaluate_on": ["lfw/eval", "real/test"]}))
    swept = launch("sweep", study, "--cluster", "local", **places)
    assert swept.returncode == 0, swept.stdout + swept.stderr
    assert "2 runs: 2 evaluate" in swept.stdout, swept.stdout
    assert (calm / "runs" / run / "train.json").stat().st_mtime_ns == stamp


def test_a_study_can_say_tuned_and_then_takes_what_the_search_found(
    calm: Path, toy_study: Callable[..., Path], toy_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, place in (("FER_DATA", toy_data), ("FER_HOME", calm), ("FER_CACHE", calm / "cache")):
        monkeypatch.setenv(name, str(place))
    own = {key: value for key, value in TOY.items() if key != "backbone"}
    grid = {"backbone": ["resmasking_tiny"], "recipe": ["scratch"], "seed": [0, 1]}

    def runs(**more: Any) -> set[str]:
        study = load_study(toy_study(grid, set={**own, "keep.every_minutes": 0.002}, **more))
        return {run.name for run in expand_request(study, Console()).runs}

    best = json.loads((calm / "studies/toy-search/best.json").read_text())
    assert runs(tuned=["toy-search"]) == set(best["runs"])
    assert not runs() & set(best["runs"])
    with pytest.raises(CallerError, match="has no result in"):
        runs(tuned=["another"])
    grid["recipe"] = ["lp_ft"]
    with pytest.raises(CallerError, match="no run has that backbone and recipe"):
        runs(tuned=["toy-search"])


@pytest.mark.slow
@pytest.mark.parametrize("how", [
    {"searcher": "optuna", "scheduler": {"name": "median", "grace": 1}},
    {"budget": {"epochs": 7}, "scheduler": {"name": "hyperband", "reduction": 2}},
    {"searcher": "grid", "space": {"optim.lr": {"choice": [1e-3, 1e-2]}}, "budget": {}}],
    ids=lambda how: "-".join(map(str, how)))
def test_every_searcher_scheduler_and_budget_comes_to_its_end(
    how: dict[str, Any], places: Path
) -> None:
    done = launch("tune", write_search(places.parent, **how))
    assert done.returncode == 0, done.stdout + done.stderr
    found = trials(places)
    assert all(trial["state"] in ("done", "stopped") for trial in found)
    trained = sum(len(trial["curve"]) for trial in found)
    assert all(trial["curve"] for trial in found)  # what was never begun is not on record
    if "epochs" in how.get("budget", {}):
        assert 7 <= trained <= 9  # those that were being trained when it was spent
    else:
        assert len(found) == (2 if how.get("searcher") == "grid" else 6)
    if how.get("searcher") == "optuna":
        assert all(("optim.momentum" in trial["params"]) == (trial["params"]["optim.name"] == "sgd")
                   for trial in found)
    page = (places / "studies/toy-search/report/index.html").read_text()
    assert "Selected on synthetic validation only" in page
    events = list((places / "studies/toy-search/tb").rglob("events*"))
    assert len([path for path in events if "trials" in path.parts]) == len(
        [trial for trial in found if trial["curve"]])


@pytest.mark.slow
def test_a_trial_that_is_paused_goes_on_with_the_numbers_of_one_that_is_not(places: Path) -> None:
    file = write_search(places.parent, scheduler={"name": "hyperband", "reduction": 2},
                        set={**TOY, "recipe": "scratch", "train.epochs": 5})
    assert launch("tune", file).returncode == 0
    paused = [trial for trial in trials(places) if len(trial["curve"]) == 5
              and RunFolder(places / "runs" / trial["run"]).status().restarts]
    assert paused and any(trial["state"] == "stopped" for trial in trials(places))
    found = numbers(places / "runs" / paused[0]["run"])
    config = places / "runs" / paused[0]["run"] / "config.yaml"
    home = places.parent / "undisturbed"
    assert launch("train", config, FER_HOME=str(home)).returncode == 0
    assert numbers(home / "runs" / paused[0]["run"]) == found


def test_a_trial_that_was_stopped_early_goes_on_in_a_study(
    calm: Path, toy_data: Path, tmp_path: Path
) -> None:
    stopped = next(trial for trial in trials(calm) if trial["state"] == "stopped")
    search = yaml.safe_load((calm / "studies/toy-search/search.yaml").read_text())
    study = tmp_path / "on.yaml"
    study.write_text(yaml.safe_dump({
        "schema": 1, "study": "on", "base": search["base"], "grid": {"seed": [0]},
        "set": {**search["set"], **stopped["params"]}, "evaluate_on": ["lfw/eval"]}))
    done = launch("sweep", study, "--cluster", "local", FER_DATA=str(toy_data), FER_HOME=str(calm),
                  FER_CACHE=str(calm / "cache"))
    assert done.returncode == 0, done.stdout + done.stderr
    run = RunFolder(calm / "runs" / stopped["run"])
    assert run.status().state == "done" and run.status().restarts == 1


@pytest.mark.slow
def test_what_another_search_trained_is_not_trained_again(calm: Path, toy_data: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in calm.glob("runs/*/metrics.jsonl")}
    done = launch("tune", calm / "toy-search.yaml", "search=same-again", "finalists=null",
                  "--slots", 1, FER_DATA=str(toy_data), FER_HOME=str(calm),
                  FER_CACHE=str(calm / "cache"))
    assert done.returncode == 0, done.stdout + done.stderr
    again = json.loads((calm / "studies/same-again/trials.json").read_text())["trials"]
    assert [(one["run"], one["curve"]) for one in again] == [
        (one["run"], one["curve"]) for one in trials(calm) if one["seed"] is None]
    assert before == {path: path.stat().st_mtime_ns for path in calm.glob("runs/*/metrics.jsonl")}


@pytest.mark.slow
def test_a_budget_of_gpu_hours_ends_the_search(places: Path) -> None:
    file = write_search(places.parent, budget={"gpu_hours": 1e-6}, scheduler={"name": "none"})
    done = launch("tune", file, "--slots", 1)
    assert done.returncode == 0, done.stdout + done.stderr
    found = trials(places)
    assert len(found) == 1 and len(found[0]["curve"]) == 1 and found[0]["state"] == "stopped"
    assert (places / "studies/toy-search/best.yaml").is_file()


def test_the_live_table_has_the_best_first_and_says_what_of_the_budget_is_used(calm: Path) -> None:
    search, record = load_search(calm / "toy-search.yaml"), Record(calm / "studies/toy-search")
    console = Console(width=200, record=True, quiet=False, file=io.StringIO())
    console.print(SearchProgress(search, TrialSlots(1, 0, 1), console).table(list(record)))
    title, table = console.export_text().split("trial ", 1)
    title, (header, first, *_) = " ".join(title.split()), table.splitlines()
    states = Counter(trial["state"] for trial in trials(calm))
    assert "6 of 6 trials started" in title
    assert all(f"{number} {state}" in title for state, number in states.items())
    assert header.split()[:3] == ["state", "epoch", "macro_f1"]
    assert f"{max(trial['score'] for trial in trials(calm)):.4f}" in first


def test_the_time_left_is_that_of_the_budget_which_is_used_up_first(calm: Path) -> None:
    search, entries = load_search(calm / "toy-search.yaml"), [
        Entry(number, {}, state="done", epochs=10, curve=[0.5] * 10, seconds=36.0)
        for number in range(4)]

    def left(**budget: float) -> float | None:
        limited = search.model_copy(update={"budget": Budget(**budget)})  # type: ignore[arg-type]
        progress = SearchProgress(limited, TrialSlots(1, 0, 1, counted=2.0), Console(quiet=True))
        progress._epochs_before, progress._begun = 0, time.monotonic() - 40  # an epoch a second
        return progress._time_left(entries, 40)

    assert left(trials=6) == pytest.approx(20, rel=0.01)
    assert left(epochs=50) == pytest.approx(10, rel=0.01)
    assert left(gpu_hours=0.2) == pytest.approx(60, rel=0.01)  # 0.08 are used
    assert left(trials=6, epochs=50, gpu_hours=0.2) == pytest.approx(10, rel=0.01)
    assert left(gpu_hours=0.04) == 0


@pytest.mark.slow
def test_trials_of_linear_probes_share_the_features_of_one_body_and_one_process(
    places: Path, start: Start
) -> None:
    settings = {**TOY, "recipe": "linear_probe", "train.epochs": 3}
    file = write_search(places.parent, set=settings, space={
        "optim.lr": {"choice": [1e-3, 1e-2, 1e-1]}}, searcher="grid", scheduler={"name": "none"})
    driver = start("tune", file, "--slots", 1)
    workers, features = set(), set()
    while driver.poll() is None:
        with suppress(psutil.NoSuchProcess):
            workers |= {one.pid for one in family(driver.pid) if "RunTrial" in one.name()}
        features |= {path.stat().st_ino for path in places.parent.glob("cache/features/*.npy")}
        time.sleep(0.05)
    assert driver.returncode == 0 and len(trials(places)) == 3
    assert len(workers) == 1
    assert len(features) == 2  # of training and of validation pictures, each written once


def test_tensorboard_has_the_hyper_parameters_and_the_score_of_every_trial(calm: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    for trial in trials(calm):
        name = f"{trial['number']:03}" + ("" if trial["seed"] is None else f"-s{trial['seed']}")
        events = EventAccumulator(str(calm / "studies/toy-search/tb/trials" / name)).Reload()
        content = events.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
        params = HParamsPluginData.FromString(content).session_start_info.hparams
        assert params["optim.lr"].number_value == pytest.approx(trial["params"]["optim.lr"])
        assert params["optim.name"].string_value == trial["params"]["optim.name"]
        last = events.Scalars("search/macro_f1")[-1]
        assert last.step == len(trial["curve"])
        assert last.value == pytest.approx(trial["score"], abs=1e-6)


@pytest.mark.slow
def test_a_trial_on_folds_is_scored_by_its_pooled_predictions(places: Path) -> None:
    file = write_search(places.parent, budget={"trials": 2}, metric="uar",
                        set={**TOY, "recipe": "scratch", "train.epochs": 1, "train.folds": 2},
                        scheduler={"name": "none"})
    done = launch("tune", file, "--slots", 1)
    assert done.returncode == 0, done.stdout + done.stderr
    config = places / "studies/toy-search/best.yaml"
    assert "out of fold over 2 folds" in config.read_text()
    assert load_run(config, {"train_on": "lfw"}).data.folds is None
    for trial in trials(places):
        (first,) = places.glob(f"runs/{trial['run']}")
        runs = other_folds(RunFolder(first))
        assert len(runs) == 2 and len(trial["curve"]) == trial["epochs"] == 2
        assert trial["score"] == pytest.approx(pooled_score([run.path for run in runs], "uar"))
    before = trials(places)
    assert launch("tune", file, "--slots", 1, "--resume").returncode == 0
    assert trials(places) == before
