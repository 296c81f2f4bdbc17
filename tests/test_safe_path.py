"""Files where a command is typed are not run in the place of libraries, nor another checkout's."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import REPOSITORY, TOY

from fer.safe_path import python

Write = Callable[..., Path]
PLANTED = ("torch", "tensorboard", "html", "json", "yaml", "submitit", "ray", "socket", "pickle",
           "runpy", "multiprocessing", "fer", "typer", "numpy", "sitecustomize")
SCRIPTS = sorted(path.stem for path in (REPOSITORY / "launch").glob("*.py"))


@pytest.fixture
def planted(tmp_path: Path) -> Path:
    """A folder whose modules have names of libraries and note that they were run."""
    folder = tmp_path / "where I type"
    folder.mkdir()
    for name in PLANTED:
        (folder / f"{name}.py").write_text(
            f"with open({str(tmp_path / 'canary')!r}, 'a') as file: file.write('{name} ')\n")
    return folder


def run_there(folder: Path, *command: object, **env: str) -> subprocess.CompletedProcess[str]:
    """Run a command in a folder of planted modules and see that none of them was run."""
    base = {name: value for name, value in os.environ.items() if name != "PYTHONSAFEPATH"}
    done = subprocess.run(list(map(str, command)), cwd=folder, capture_output=True, text=True,
                          timeout=300, env={**base, "PYTHONPATH": str(REPOSITORY), **env})
    canary = folder.parent / "canary"
    assert not canary.exists(), f"{command}: ran {canary.read_text()}\n{done.stderr}"
    return done


def script(name: str) -> list[str]:
    return [sys.executable, str(REPOSITORY / "launch" / f"{name}.py")]


def test_python_itself_would_run_them(planted: Path) -> None:
    with pytest.raises(AssertionError, match="ran json"):
        run_there(planted, sys.executable, "-c", "import json")


def test_help_runs_nothing_of_the_folder(planted: Path) -> None:
    for name in SCRIPTS:
        done = run_there(planted, *script(name), "--help")
        assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_doctor_runs_nothing_of_the_folder(planted: Path, places: Path) -> None:
    done = run_there(planted, *script("doctor"))
    assert re.search(r"ok +torch: \d", done.stdout), done.stdout + done.stderr


@pytest.mark.slow
def test_a_study_from_sweep_to_board_runs_nothing_of_the_folder(
    planted: Path, places: Path, toy_study: Write
) -> None:
    study = toy_study({"train_on": ["lfw"], "seed": [0, 1]}, set={
        **{key: value for key, value in TOY.items() if key != "train_on"}, "train.epochs": 1,
        "data.sets.mlfw.twin_of": "lfw"}, evaluate_on=["lfw/eval", "mlfw/eval"],
        gap={"synthetic": "mlfw/eval", "real": "lfw/eval"})
    done = run_there(planted, *script("sweep"), study, "--cluster", "local", "--slots", 2)
    assert done.returncode == 0, done.stdout + done.stderr
    assert list(places.glob("runs/*/attention/index.json")), done.stdout
    for command in ([*script("status"), "toy"], [*script("report"), "toy", "--attention"],
                    [*script("sweep"), study, "--detach", "--cluster", "local"]):
        done = run_there(planted, *command)
        assert done.returncode == 0, done.stdout + done.stderr
    log = places / "studies/toy/launcher.log"
    deadline = time.monotonic() + 120
    while "nothing to train" not in log.read_text() and time.monotonic() < deadline:
        time.sleep(0.2)
    assert "nothing to train" in log.read_text()
    board = subprocess.Popen([*script("board"), "toy"], cwd=planted, stdout=subprocess.PIPE,
                             text=True, env={**os.environ, "PYTHONPATH": str(REPOSITORY)})
    assert board.stdout is not None and "http://127.0.0.1" in board.stdout.readline()
    board.send_signal(signal.SIGTERM)
    board.wait(timeout=30)
    assert not (planted.parent / "canary").exists()


def test_an_empty_entry_of_pythonpath_is_not_the_current_folder(planted: Path) -> None:
    code = "import sys, os, json; print(os.getcwd() in sys.path, os.environ['PYTHONPATH'])"
    for value in (f"{REPOSITORY}:", f":{REPOSITORY}", f"{REPOSITORY}::/nowhere"):
        # Python's own start looks there too, for a `sitecustomize`
        (planted / "sitecustomize.py").unlink(missing_ok=True)
        done = run_there(planted, *python("-c", code), PYTHONPATH=value)
        inside, kept = done.stdout.split()
        assert inside == "False" and "" not in kept.split(":")


def test_a_folder_that_pythonpath_names_stays_on_the_path(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("")
    done = subprocess.run(python("-c", "import mine"), cwd=tmp_path,
                          env={**os.environ, "PYTHONPATH": f"{tmp_path}:"})
    assert done.returncode == 0


OLDER_PYTHON = """
import os, sys
import fer.safe_path
fer.safe_path.HAS_SAFE_PATH = False  # as in Python 3.10, where the variable means nothing
del os.environ["PYTHONSAFEPATH"]
from pathlib import Path
from fer.cluster.executor import LocalExecutor
from fer.data.process_map import map_in_processes
assert sorted(map_in_processes(abs, [-1, -2], 2)) == [1, 2]
executor = LocalExecutor(folder=sys.argv[1])
executor.update_parameters(timeout_min=5)
where = executor.submit(os.getcwd).result()
assert where == os.getcwd() != "/", where
"""


def test_libraries_start_processes_without_the_folder_on_python_3_10_too(
    planted: Path, tmp_path: Path
) -> None:
    done = run_there(planted, *python("-c", OLDER_PYTHON, str(tmp_path / "jobs")))
    assert done.returncode == 0, done.stderr


def test_no_other_file_starts_python() -> None:
    for word, home in ((r"\[[^\]]*sys\.executable", "fer/safe_path.py"),
                       (r"submitit\.LocalExecutor", "fer/cluster/executor.py"),
                       (r"ProcessPoolExecutor|get_context", "fer/data/process_map.py")):
        said = [str(path.relative_to(REPOSITORY)) for folder in ("fer", "launch")
                for path in (REPOSITORY / folder).rglob("*.py")
                if re.search(word, path.read_text())]
        assert said == [home]


@pytest.fixture
def other(tmp_path: Path) -> Path:
    """Another checkout, of which a module is missing."""
    folder = tmp_path / "other code"
    shutil.copytree(REPOSITORY / "fer", folder / "fer",
                    ignore=shutil.ignore_patterns("__pycache__"))
    shutil.rmtree(folder / "fer/data")
    return folder


def start_other(other: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Start the other checkout's code where this one's is installed or on the path."""
    return subprocess.run([sys.executable, str(other / "fer/safe_path.py"), *arguments],
                          capture_output=True, text=True,
                          env={**os.environ, "PYTHONPATH": str(REPOSITORY)})


def test_code_is_that_beside_the_file_that_starts_it(other: Path) -> None:
    done = start_other(other, "-c", "import fer.errors; print(fer.errors.__file__)")
    assert done.stdout.strip() == str(other / "fer/errors.py"), done.stderr


def test_a_module_that_is_missing_is_one_line_and_not_another_checkouts(other: Path) -> None:
    done = start_other(other, "-m", "fer.data.digest")
    assert done.returncode == 1
    assert done.stderr == (f"fer.data is not in {other / 'fer'}: the code is not there or not "
                           "whole; the same command makes a new copy\n")


def test_the_missing_module_of_an_installed_package_is_not_another_checkouts(other: Path) -> None:
    (other / "site").mkdir()
    (other / "site/sitecustomize.py").write_text(  # as an editable installation does
        "import sys\nfrom importlib.machinery import PathFinder\n"
        "class Editable:\n"
        "    @staticmethod\n"
        "    def find_spec(name, path=None, target=None):\n"
        f"        return PathFinder.find_spec(name, [{str(REPOSITORY / 'fer')!r}]) "
        "if name == 'fer.data' else None\n"
        "sys.meta_path.append(Editable)\n")
    done = subprocess.run([sys.executable, "-c", "import fer.data.digest"], cwd=other,
                          capture_output=True, text=True,
                          env={**os.environ, "PYTHONPATH": f"{other / 'site'}:{other}"})
    assert done.returncode == 1 and "fer.data is not in" in done.stderr


def test_code_that_was_loaded_before_the_jobs_own_ends_it_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import fer.errors\n")
    done = subprocess.run(python("-c", "print('went on')"), capture_output=True, text=True,
                          env={**os.environ, "PYTHONPATH": f"{tmp_path}:{REPOSITORY}"})
    assert done.returncode == 1 and not done.stdout
    assert "was loaded before" in done.stderr and len(done.stderr.splitlines()) == 1


def test_the_door_passes_arguments_and_exit_codes_on(tmp_path: Path) -> None:
    file = tmp_path / "a script.py"
    file.write_text("import sys; print(__name__, *sys.argv); sys.exit(7)")
    done = subprocess.run(python(str(file), "-m", "x y"), capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (7, f"__main__ {file} -m x y\n")
