"""The scripts of `launch/`: quick help, light imports, and what each of them promises."""

import json
import pkgutil
import resource
import subprocess
import sys
import time
import warnings
from pathlib import Path

import pytest
from commands import own_process_state, script_path
from conftest import REPOSITORY, launch, write_toy_set
from test_mistakes import said_in_one_line

SCRIPTS = sorted(path.stem for path in (REPOSITORY / "launch").glob("*.py"))
HELP_SECONDS = 0.3
TRIES = 10


def processor_seconds() -> float:
    """Return what the processes have used that this one has waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_answers_in_under_three_tenths_of_a_second(script: str) -> None:
    """Counted in seconds of processor: other tests share the cores."""
    seconds: list[float] = []
    while len(seconds) < TRIES and min(seconds, default=1.0) >= HELP_SECONDS:
        before = processor_seconds()
        done = subprocess.run([sys.executable, str(script_path(script)), "--help"],
                              capture_output=True, text=True, cwd=REPOSITORY)
        seconds.append(processor_seconds() - before)
        assert done.returncode == 0 and "Usage" in done.stdout
    assert min(seconds) < HELP_SECONDS


def test_scripts_in_this_process_show_the_warnings_that_a_fresh_interpreter_shows() -> None:
    """A library that is imported here first, and is deprecated, is no line of a script's."""
    with own_process_state(["launch/data.py"], {}), warnings.catch_warnings(record=True) as shown:
        for name in ("library", "__main__"):
            for category in (DeprecationWarning, ResourceWarning, UserWarning):
                warnings.warn_explicit(name, category, "file.py", 1, name)
    assert [(str(one.message), one.category) for one in shown] == [
        ("library", UserWarning), ("__main__", DeprecationWarning), ("__main__", UserWarning)]


def modules_of(package: str) -> list[str]:
    return [f"fer.{package}", *(f"fer.{package}.{module.name}" for module in
                                pkgutil.iter_modules([str(REPOSITORY / "fer" / package)]))]


@pytest.mark.parametrize("package", ["config", "study", "cluster", "evaluate", "report"])
def test_what_the_login_node_imports_does_not_import_torch(package: str) -> None:
    code = f"import sys, {', '.join(modules_of(package))}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY).returncode == 0


@pytest.fixture
def study(two_seeds: dict[str, str]) -> dict[str, str]:
    """Return the environment of a finished study of two runs."""
    return two_seeds


def test_sweep_prints_the_table_and_the_path_of_the_page(study: dict[str, str]) -> None:
    done = launch("sweep", study["STUDY"], **study)
    assert "UAR" in done.stdout and "report/index.html" in done.stdout


def test_status_shows_a_row_a_run_and_ends_with_0_when_all_are_done(study: dict[str, str]) -> None:
    done = launch("status", "toy", **study)
    assert done.returncode == 0 and done.stdout.endswith("2 runs: 2 done\n")
    assert done.stdout.count(" done ") == 2


def test_status_as_json_has_the_state_step_and_metric_of_each_run(study: dict[str, str]) -> None:
    rows = json.loads(launch("status", "toy", "--json", **study).stdout)
    assert [(row["state"], row["step"], row["steps"]) for row in rows] == [("done", 18, 18)] * 2
    assert all(0 <= row["metric"] <= 1 for row in rows)


def test_status_watched_ends_when_all_are_done(study: dict[str, str]) -> None:
    done = launch("status", "toy", "--watch", timeout=30, **study)
    assert done.returncode == 0 and "2 runs: 2 done" in done.stdout


def test_status_takes_the_study_file_too(study: dict[str, str]) -> None:
    assert launch("status", study["STUDY"], **study).returncode == 0


def test_status_refuses_to_cancel_what_is_not_there(study: dict[str, str]) -> None:
    said_in_one_line(launch("status", "toy", "--cancel", "nothing*", **study), "nothing*")


def test_report_makes_the_same_table_again(study: dict[str, str]) -> None:
    folder = Path(study["FER_HOME"]) / "studies/toy/report"
    before = (folder / "results.csv").read_bytes()
    (folder / "results.csv").unlink()
    assert launch("report", "toy", **study).returncode == 0
    assert (folder / "results.csv").read_bytes() == before


def test_evaluate_prints_metrics_confusion_matrix_and_common_mistakes(
    study: dict[str, str]
) -> None:
    done = launch("evaluate", "resmasking_tiny-*", "--split", "mlfw/eval", **study)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("true \\ predicted") == 2 and "UAR" in done.stdout
    assert "wrong for all 2 models" in done.stdout
    assert len(list(Path(study["FER_HOME"]).glob("runs/*/predictions/mlfw/eval.parquet"))) == 2


def test_evaluate_refuses_a_split_that_is_not_there(study: dict[str, str]) -> None:
    said_in_one_line(launch("evaluate", "resmasking_tiny-*", "--split", "lfw/none", **study),
                     "lfw/none", "lfw/eval")


def test_tensorboard_finds_every_run_through_the_links(study: dict[str, str]) -> None:
    links = list((Path(study["FER_HOME"]) / "studies/toy/tb").iterdir())
    assert len(links) == 2 and all(list(link.glob("events*")) for link in links)


def test_train_takes_a_users_own_pictures_without_code(tmp_path: Path) -> None:
    write_toy_set(tmp_path / "my pictures", "train", people=9)
    write_toy_set(tmp_path / "my pictures", "eval", people=3, first=20)
    done = launch("train", "configs/drawn.yaml", "data.drawn=null", "train_on=mine",
                  f"data.sets.mine.folder={tmp_path / 'my pictures'}", "train.epochs=1",
                  "evaluate_on=[mine/eval]", FER_HOME=str(tmp_path / "home"),
                  FER_CACHE=str(tmp_path / "cache"), FER_DATA=str(tmp_path / "none"))
    assert done.returncode == 0, done.stderr
    assert "mine/eval" in done.stdout


def test_a_run_folders_configuration_is_enough_to_do_it_again(
    study: dict[str, str], tmp_path: Path
) -> None:
    first = sorted(Path(study["FER_HOME"]).glob("runs/*-s0-*"))[0]
    env = {**study, "FER_HOME": str(tmp_path)}
    assert launch("train", first / "config.yaml", **env).returncode == 0
    again = tmp_path / "runs" / first.name
    assert (again / "metrics.jsonl").read_bytes() == (first / "metrics.jsonl").read_bytes()


def test_scripts_work_from_another_folder(study: dict[str, str], tmp_path: Path) -> None:
    import os

    done = subprocess.run(
        [sys.executable, str(REPOSITORY / "launch/sweep.py"), "sweeps/demo.yaml", "--help"],
        cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0
    done = subprocess.run([sys.executable, str(REPOSITORY / "launch/status.py"), "toy"],
                          cwd=tmp_path, capture_output=True, text=True, env={**os.environ, **study})
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_detach_returns_at_once_and_the_study_ends_in_the_background(
    study: dict[str, str], tmp_path: Path
) -> None:
    env = {**study, "FER_HOME": str(tmp_path), "FER_INJECT": "slow:1"}
    begun, used = time.monotonic(), processor_seconds()
    done = launch("sweep", study["STUDY"], "--detach", "grid.seed=[0]", **env)
    assert done.returncode == 0 and processor_seconds() - used < 5, done.stderr
    assert launch("status", "toy", **env).returncode != 0  # it has not waited for the study
    while launch("status", "toy", **env).returncode:
        assert time.monotonic() - begun < 400, (tmp_path / "studies/toy/launcher.log").read_text()
        time.sleep(1)
    page = tmp_path / "studies/toy/report/index.html"
    while not page.exists():
        assert time.monotonic() - begun < 400
        time.sleep(0.5)


def test_status_without_a_name_lists_every_study_with_the_hours_spent(study: dict[str, str]
                                                                      ) -> None:
    done = launch("status", **study)
    assert done.returncode == 0, done.stderr
    line, last = done.stdout.splitlines()
    assert line.startswith("toy ") and line.endswith("h  2 runs: 2 done")
    found = json.loads(launch("status", "--json", **study).stdout)
    seconds = sum(row["hours"] for row in found["studies"]) * 3600
    spent = sum(json.loads(file.read_text())["seconds"]
                for file in Path(study["FER_HOME"]).glob("runs/*/status.json"))
    assert seconds == pytest.approx(spent) and f"{spent / 3600:.2f} GPU-hours" in last


def test_status_prints_the_log_of_one_run(study: dict[str, str]) -> None:
    done = launch("status", "toy", "--log", "*-s1-*", **study)
    assert done.returncode == 0 and "begins at step 0" in done.stdout
    several = launch("status", "toy", "--log", "*", **study)
    assert several.returncode == 2 and "selects 2" in several.stderr
    none = launch("status", "toy", "--log", "nobody", **study)
    assert none.returncode == 2 and "no run of 'toy'" in none.stderr
