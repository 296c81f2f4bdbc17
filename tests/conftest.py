"""A small world for the tests: toy pictures in the layout of the real sets, and own folders."""

import fcntl
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import warm_python
from commands import command_line, launch
from hypothesis import settings
from PIL import Image
from xdist.scheduler import LoadScopeScheduling

REPOSITORY = Path(__file__).resolve().parents[1]
__all__ = ["launch"]
CLASSES = ("negative", "neutral", "positive")
os.environ["OMP_NUM_THREADS"] = "1"
# a suite in the background of a shell, or under nohup, ignores them, and so would what it starts
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
settings.register_profile("loaded machine", deadline=None)  # other tests have the cores too
settings.load_profile("loaded machine")


@cache
def shares_fixtures(file: str) -> bool:
    """Whether tests of a file have a fixture in common that is made once for the file."""
    text = (REPOSITORY / file).read_text()
    return 'scope="module"' in text or "two_seeds" in text


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes longest, and spread the tests that wait for SLURM among the others."""
    def place(item: pytest.Item) -> tuple[bool, bool]:
        return (item.get_closest_marker("slow") is None,
                not shares_fixtures(item.nodeid.partition("::")[0]))

    items.sort(key=place)
    waiting = [item for item in items if item.get_closest_marker("slurm")]
    others = [item for item in items if not item.get_closest_marker("slurm")]
    order = [(number / len(kind), number, item) for kind in (waiting, others)
             for number, item in enumerate(kind)]
    items[:] = [item for *_, item in sorted(order, key=lambda one: one[:2])]


class Scheduler(LoadScopeScheduling):
    """Gives a worker one test at a time, or a whole file where its tests share fixtures.

    xdist's own groups (3.8) are without effect under pytest 9.2.
    """

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return file if shares_fixtures(file) else nodeid


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Scheduler | None:
    """Return what `--dist loadscope` means here."""
    return Scheduler(config, log) if config.getvalue("dist") == "loadscope" else None


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Say which Python processes of the test are, those of its fixtures too."""
    warm_python.use_real(item.get_closest_marker("real_python") is not None)


@pytest.fixture
def warm_children(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python processes that the tested code starts have imported torch already."""
    monkeypatch.setattr(sys, "executable", warm_python.interpreter())


def pytest_sessionfinish() -> None:
    """End the SLURM of this worker, and the server of its Python."""
    if "slurm_cluster" in sys.modules:
        sys.modules["slurm_cluster"].take_down_all()
    warm_python.leave()


def write_toy_set(folder: Path, split: str, people: int, size: int = 64, mask: bool = False,
                  first: int = 0) -> None:
    """Write toy pictures (a bright bar whose height is the class) in the layout of LFW-FER."""
    for person in range(first, first + people):
        for number, name in enumerate(CLASSES, 1):
            rng = np.random.default_rng(person * 10 + number)
            pixels = rng.integers(40, 120, (size, size, 3))
            top = (number - 1) * size // 3
            pixels[top : top + size // 3, size // 4 : -size // 4] += 90
            if mask:
                pixels[size * 2 // 3 :] = 230
            path = folder / split / name / f"Toy_Person{person:03}_{number:04}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels.astype(np.uint8)).save(path, quality=90)


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all workers of a session share; what is in there is never changed."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base


@pytest.fixture(scope="session")
def toy_data(shared_folder: Path) -> Path:
    """A data root with toy twins of LFW-FER and M-LFW-FER and another people's REAL-FER."""
    root = shared_folder / "toy data"
    with once(root) as building:
        if building is not None:
            for folder, mask in (("LFW-FER", False), ("M-LFW-FER", True)):
                write_toy_set(building / folder, "train", people=30, mask=mask)
                write_toy_set(building / folder, "eval", people=8, mask=mask, first=30)
            write_toy_set(building / "REAL-FER", "test", people=8, mask=True, first=100)
    return root


@contextmanager
def once(folder: Path) -> Iterator[Path | None]:
    """Yield a folder to fill, which then becomes `folder`; None where another worker has done it.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with open(folder.with_name(f".{folder.name}.lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if folder.is_dir():
            yield None
            return
        building = folder.with_name(f".{folder.name}.building")
        shutil.rmtree(building, ignore_errors=True)  # of one that failed
        building.mkdir()
        yield building
        building.rename(folder)


def warm_cache_beside(data: Path) -> Path:
    """Return an FER_CACHE with what is known by content: packs, digests, drawn masks."""
    root = data.with_name("warm cache")
    with once(root) as building:
        if building is not None:
            for name in CONTENT_ADDRESSED:
                (building / name).mkdir()
    return root


CONTENT_ADDRESSED = ("packs", "digests", "masks")
"""Folders of FER_CACHE whose files are named by content: tests share them."""


def new_cache(folder: Path, warm: Path) -> Path:
    """Make an FER_CACHE at `folder` that shares what is known by content; returns it."""
    folder.mkdir(parents=True)
    for name in CONTENT_ADDRESSED:
        (folder / name).symlink_to(warm / name)
    return folder


@pytest.fixture
def places(toy_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Own FER_HOME and FER_CACHE beside the toy data; returns FER_HOME."""
    new_cache(tmp_path / "cache", warm_cache_beside(toy_data))
    for name, path in (("FER_DATA", toy_data), ("FER_HOME", tmp_path / "my home"),
                       ("FER_CACHE", tmp_path / "cache")):
        monkeypatch.setenv(name, str(path))
    return tmp_path / "my home"


TOY = {
    "backbone": "resmasking_tiny", "data.drawn": None, "train_on": "lfw",
    "data.sets.lfw.folder": "LFW-FER", "data.sets.mlfw.folder": "M-LFW-FER",
    "data.sets.real.folder": "REAL-FER", "data.sets.people.folder": "LFW-FER",
    "train.epochs": 3, "train.batch_size": 16,
}
"""Overrides of `configs/drawn.yaml` that make it train on the toy data."""


def toy_arguments(**overrides: object) -> list[str]:
    """Return the toy overrides as command-line arguments, with some more."""
    merged = {**TOY, **{key.replace("__", "."): value for key, value in overrides.items()}}
    return [f"{key}={'null' if value is None else value}" for key, value in merged.items()]


def write_toy_study(folder: Path, grid: Mapping[str, object], name: str = "toy", **more: object
                    ) -> Path:
    """Write a study file on the toy data; `more` are its other keys."""
    import yaml

    content = {
        "schema": 1, "study": name, "base": str(REPOSITORY / "configs/drawn.yaml"),
        "grid": dict(grid), "set": {k: v for k, v in TOY.items() if k not in grid},
        "evaluate_on": ["lfw/eval", "real/test"],
        "gap": {"synthetic": "lfw/eval", "real": "real/test"}, **more}
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


@pytest.fixture
def toy_study(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes a study file on the toy data."""
    return partial(write_toy_study, tmp_path)


def finished_study(folder: Path, data: Path, grid: Mapping[str, object],
                   settings: Mapping[str, object], **more: object) -> dict[str, str]:
    """Run a toy study to its end, for fixtures; returns the environment to find it with.

    Args:
        settings: set in every run, beside those of `TOY`.
    """
    merged = {key: value for key, value in {**TOY, **settings}.items() if key not in grid}
    env = {"FER_DATA": str(data), "FER_HOME": str(folder / "home"),
           "FER_CACHE": str(new_cache(folder / "cache", warm_cache_beside(data)))}
    done = launch("sweep", write_toy_study(folder, grid, set=merged, **more), **env)
    assert done.returncode == 0, done.stdout + done.stderr
    return env


@pytest.fixture(scope="module")
def two_seeds(shared_folder: Path, toy_data: Path, tmp_path_factory: pytest.TempPathFactory
              ) -> dict[str, str]:
    """Return the environment of a file's own copy of a finished toy study of two seeds.

    It is trained once a session; STUDY is the path of its file.
    """
    trained = shared_folder / "two seeds"
    with once(trained) as building:
        if building is not None:
            finished_study(building, toy_data, {"train_on": ["lfw"], "seed": [0, 1]}, {})
    folder = tmp_path_factory.mktemp("two seeds")
    shutil.copytree(trained / "home", folder / "home", symlinks=True)
    return {"FER_DATA": str(toy_data), "FER_HOME": str(folder / "home"),
            "FER_CACHE": str(new_cache(folder / "cache", warm_cache_beside(toy_data))),
            "STUDY": shutil.copy(trained / "toy.yaml", folder)}


@pytest.fixture
def start() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Return a function that starts a script of `launch/`; what is left is ended afterwards."""
    started: list[subprocess.Popen[str]] = []

    def begin(script: str, *arguments: object, **env: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            command_line(script, *arguments), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, cwd=REPOSITORY, env={**os.environ, **env}, start_new_session=True)
        started.append(process)
        return process

    yield begin
    for process in started:
        if process.poll() is None:
            process.kill()
        process.wait()
