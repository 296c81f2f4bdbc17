"""A real SLURM for a test: brought up by `slurm/devcluster.py`, on ports of its own.

Tests of one worker share a cluster, one after another, each with its own store. It is a new one
where a test wants other settings, or has ended a daemon.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

import pytest
import yaml
from commands import REPOSITORY, command_line, launch
from conftest import new_cache, warm_cache_beside
from warm_python import interpreter

sys.path.insert(0, str(REPOSITORY / "slurm"))

import cluster_files
import daemons

from fer.study.run_folder import Store
from fer.study.status import rows_of
from fer.study.study_folder import read_study

SCRIPT = REPOSITORY / "slurm/devcluster.py"
INJECT = REPOSITORY / "tests/inject"
PATIENCE_S = 120.0


def require_slurm(accounting: bool = False) -> None:
    """Skip with the reason where no SLURM can be brought up; in CI that is a failure."""
    if reason := daemons.missing_requirement(accounting):
        if os.environ.get("FER_REQUIRE_SLURM"):
            pytest.fail(f"needs a real SLURM: {reason}")
        pytest.skip(f"needs a real SLURM: {reason}")


@dataclass
class TestCluster:
    """A cluster with a store of its own, and the launcher's environment to use it.

    Attributes:
        settings: as it was brought up.
        root: holds FER_HOME and FER_CACHE; its name has a space and quotes in it.
        data: FER_DATA.
        inject: faults for the jobs (see `inject/sitecustomize.py`).
        first_job: the least job id of this test; earlier ones are of others.
        daemons_ended: whether a daemon was ended, so that nobody else gets this cluster.
    """

    __test__ = False

    settings: cluster_files.Cluster
    root: Path
    data: Path
    inject: str = ""
    profile: dict[str, object] = field(default_factory=dict)
    first_job: int = 1
    daemons_ended: bool = False

    @property
    def home(self) -> Path:
        """FER_HOME."""
        return self.root / 'it\'s "my" 5% home'

    @property
    def folder(self) -> Path:
        """Of the daemons."""
        return self.settings.folder

    @property
    def env(self) -> dict[str, str]:
        """What a user of this cluster has exported."""
        return {"SLURM_CONF": str(self.settings.slurm_conf), "FER_HOME": str(self.home),
                "FER_DATA": str(self.data), "FER_CACHE": str(self.root / "cache"),
                "FER_PROFILES": str(self.root / "profiles"), "FER_INJECT": self.inject,
                "CALLS_OF_SBATCH": str(self.root / "sbatch.log"),
                "PATH": f"{self.root / 'bin'}{os.pathsep}{os.environ['PATH']}"}

    def write_profile(self, name: str = "test", **more: object) -> None:
        """Write the profile of this cluster, with the faults in its Python."""
        python = f'env PYTHONPATH="{INJECT}:$PYTHONPATH" {interpreter()}'
        content = {"partition": "main", "gpus_per_node": 2, "signal_delay": 20, "python": python,
                   "environment": {"FER_INJECT": f"{self.inject} plain"}, **self.profile, **more}
        (self.root / "profiles").mkdir(exist_ok=True)
        (self.root / "profiles" / f"{name}.yaml").write_text(yaml.safe_dump(content))

    def count_sbatch(self, before: str = "", after: str = "") -> None:
        """Put an `sbatch` first in the PATH that notes its calls; shell lines around the real one.
        """
        real = shutil.which("sbatch")
        wrapper = self.root / "bin" / "sbatch"
        wrapper.parent.mkdir(exist_ok=True)
        wrapper.write_text(f'#!/bin/bash\necho "$@" >> "$CALLS_OF_SBATCH"\n{before}\n'
                           f'{real} "$@"\ncode=$?\n{after}\nexit $code\n')
        wrapper.chmod(0o755)

    @property
    def sbatch_calls(self) -> int:
        """Calls of `sbatch` since `count_sbatch`."""
        log = self.root / "sbatch.log"
        return len(log.read_text().splitlines()) if log.is_file() else 0

    def command(self, *words: object) -> str:
        """Return what a command of SLURM prints."""
        done = subprocess.run(list(map(str, words)), capture_output=True, text=True, check=True,
                              env={**os.environ, **self.env})
        return done.stdout.strip()

    def launch(self, script: str, *arguments: object, timeout: float = 300
               ) -> subprocess.CompletedProcess[str]:
        """Run a script of `launch/`."""
        return launch(script, *arguments, timeout=timeout, **self.env)

    def start(self, script: str, *arguments: object) -> subprocess.Popen[str]:
        """Start a script of `launch/` in a session of its own."""
        return subprocess.Popen(
            command_line(script, *arguments), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, cwd=REPOSITORY, env={**os.environ, **self.env}, start_new_session=True)

    def submit(self, study: Path, *arguments: object) -> str:
        """Submit a study and come back; returns what was printed."""
        done = self.launch("sweep", study, "--cluster", "test", "--detach", *arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def rows(self, study: str = "toy") -> list[dict[str, object]]:
        """Return the rows of the status table, without a process for each look."""
        store = Store(self.home)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("SLURM_CONF", str(self.settings.slurm_conf))
            return [asdict(row) for row in rows_of(read_study(store, study), store)]

    def states(self, study: str = "toy") -> list[str]:
        """Return the states in the status table."""
        return [str(row["state"]) for row in self.rows(study)]

    def wait_for_state(self, *wanted: str, study: str = "toy",
                       patience: float = PATIENCE_S) -> list[dict[str, object]]:
        """Wait until every run is in one of some states and return the rows."""
        rows = wait_until(lambda: (found := self.rows(study)) and all(
            row["state"] in wanted for row in found) and found, patience,
            lambda: f"{self.rows(study)}\n{self.logs()}")
        assert isinstance(rows, list)
        return rows

    def wait_for_step(self, least: int, patience: float = PATIENCE_S) -> None:
        """Wait until every run has come to a step."""
        def reached() -> bool:
            files = list(self.home.glob("runs/*/status.json"))
            found = [json.loads(file.read_text()) for file in files]
            return bool(found) and all(
                one["state"] == "running" and one["begun"] and one["step"] >= least
                for one in found)

        wait_until(reached, patience, self.logs)

    def wait_for_step_of(self, least: int, count: int, patience: float = PATIENCE_S) -> None:
        """Wait until so many runs have come to a step."""
        def reached() -> bool:
            found = [json.loads(file.read_text()) for file in self.home.glob("runs/*/status.json")]
            return sum(one["state"] == "running" and one["step"] >= least for one in found) >= count

        wait_until(reached, patience, self.logs)

    def jobs(self) -> dict[str, dict[str, str]]:
        """Return the fields of `scontrol show job` of every job that SLURM remembers."""
        found = {}
        for line in self.command("scontrol", "show", "job", "--oneliner").splitlines():
            fields = dict(word.split("=", 1) for word in line.split() if "=" in word)
            if int(fields.get("JobId", 0)) >= self.first_job:
                found[fields["JobId"]] = fields
        return found

    def restarts(self, name: str = "fer-toy") -> list[int]:
        """Return how often each job of that name was restarted."""
        return [int(job["Restarts"]) for job in self.jobs().values() if job["JobName"] == name]

    def logs(self) -> str:
        """Return all output of jobs, for a message."""
        return "\n".join(f"== {log}\n{log.read_text(errors='replace')}"
                         for log in sorted(self.home.glob("studies/*/slurm/*/*.log")))

    def runs(self) -> list[Path]:
        """Return the run folders, sorted."""
        return sorted((self.home / "runs").iterdir())

    def preempt(self, seconds: int = 3) -> None:
        """Take all nodes for a job of the partition with the higher priority."""
        self.command("sbatch", "--partition=urgent", f"--nodes={self.settings.nodes}",
                     f"--cpus-per-task={self.settings.cores}", "--output=/dev/null",
                     "--job-name=urgent", f"--wrap=sleep {seconds}")

    def end(self, daemon: str, how: signal.Signals = signal.SIGKILL) -> None:
        """End a daemon of this cluster."""
        self.daemons_ended = True
        daemons.end(self.folder, daemon, how)

    def bring_up(self) -> None:
        """Start what is not running."""
        daemons.bring_up(self.settings)


def wait_until(happened: Callable[[], object], patience: float = PATIENCE_S,
               message: Callable[[], str] = lambda: "") -> object:
    """Wait for something that is true and return it."""
    deadline = time.monotonic() + patience
    while not (found := happened()):
        assert time.monotonic() < deadline, f"not within {patience:.0f} s\n{message()}"
        time.sleep(0.5)
    return found


def free_ports(count: int) -> int:
    """Return the first of a row of ports that nobody listens on."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:])
    for first in range(21_000 + worker * 500, 21_500 + worker * 500, count):
        probes = [socket.socket() for _ in range(count)]
        try:
            for number, probe in enumerate(probes):
                probe.bind(("127.0.0.1", first + number))
            return first
        except OSError:
            continue
        finally:
            for probe in probes:
                probe.close()
    raise AssertionError("no free ports")


SHARED = {"accounting": False, "pace": "fast", "grace": 40, "cores": 4, "memory_mb": 8000}
"""What tests that ask for nothing else have; unused nodes are excluded in a profile."""
MOST_WARM = 2
_warm: dict[str, cluster_files.Cluster] = {}


@contextmanager
def brought_up(root: Path, data: Path, inject: str = "", profile: dict[str, object] | None = None,
               new: bool = False, **settings: object) -> Iterator[TestCluster]:
    """Yield a cluster that has no jobs; one of the same settings that is up serves again.

    Args:
        root: of the test, for its store.
        new: one that nobody had before or gets after: its first job has the number 1.
        settings: of `cluster_files.Cluster` beside `SHARED`.
    """
    require_slurm(bool(settings.get("accounting")))
    key = json.dumps(settings, sort_keys=True)
    cluster = (None if new else _warm.pop(key, None)) or _start({**SHARED, **settings})
    made = TestCluster(cluster, root, data, inject, profile or {})
    clean = False
    try:
        if not (root / "cache").exists():
            new_cache(root / "cache", warm_cache_beside(data))
        made.first_job = 1 + max([0, *map(int, made.jobs())])
        made.write_profile()
        yield made
        clean = not new and not made.daemons_ended
    finally:
        if clean and _emptied(made):
            _warm[key] = cluster
            while len(_warm) > MOST_WARM:
                daemons.take_down(_warm.pop(next(iter(_warm))).folder)
        else:
            daemons.take_down(cluster.folder)


def _start(settings: dict[str, object]) -> cluster_files.Cluster:
    folder = Path(f"/tmp/fer-{os.getpid()}-{time.monotonic_ns() % 10**9}")  # short, for sockets
    cluster = cluster_files.Cluster(folder, **{  # type: ignore[arg-type]
        "first_port": free_ports(8), **settings})
    try:
        daemons.bring_up(cluster)
    except BaseException:
        daemons.take_down(folder)
        raise
    return cluster


def _emptied(cluster: TestCluster, patience: float = 40.0) -> bool:
    """Cancel all jobs; returns whether the nodes are free again before long."""
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        if not cluster.command("squeue", "--noheader"):
            states = set(cluster.command("sinfo", "--noheader", "--format=%T").split())
            if states == {"idle"}:
                return True
        cluster.command("scancel", "--quiet", f"--user={os.geteuid()}")
        time.sleep(0.3)
    return False


def take_down_all() -> None:
    """End the clusters that are kept for further tests."""
    while _warm:
        daemons.take_down(_warm.popitem()[1].folder)
