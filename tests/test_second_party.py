"""Leases between this code and that of commit 70f3a1f, which may work on one store at a time."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from conftest import REPOSITORY, launch
from record import checked_out

from fer.study.lease import Lease, LeaseTaken

OLD = "70f3a1f"
LEASE = "from fer.study.lease import Lease; from pathlib import Path; lease = Lease(Path({!r})); "
HELD = LEASE + "print(lease.held())"
TAKEN = LEASE + "lease.take(); print('taken', flush=True); input()"


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Check the old code out."""
    known = subprocess.run(["git", "-C", REPOSITORY, "cat-file", "-e", f"{OLD}^{{commit}}"],
                           capture_output=True)
    if known.returncode:
        pytest.skip(f"commit {OLD} is not in this clone's history")
    with checked_out(OLD, tmp_path_factory.mktemp("old") / "code") as folder:
        yield folder


def started(old: Path, code: str) -> subprocess.Popen[str]:
    """Start a process of the old code."""
    return subprocess.Popen([sys.executable, "-c", code], cwd=old, text=True,
                            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                            env={"PYTHONPATH": str(old), "PATH": "/usr/bin:/bin"})


def test_the_old_code_reads_a_lease_of_this_one_as_held(old: Path, tmp_path: Path) -> None:
    lease = Lease(tmp_path / "lease")
    lease.take()
    assert started(old, HELD.format(str(lease.path))).communicate()[0] == "True\n"
    lease.release()
    assert started(old, HELD.format(str(lease.path))).communicate()[0] == "False\n"


def test_this_code_takes_no_lease_of_a_live_process_of_the_old_one(old: Path, tmp_path: Path
                                                                 ) -> None:
    lease = Lease(tmp_path / "lease")
    process = started(old, TAKEN.format(str(lease.path)))
    assert process.stdout is not None and process.stdout.readline() == "taken\n"
    assert lease.held()
    with pytest.raises(LeaseTaken):
        lease.take()
    process.kill()
    process.wait()
    assert not lease.held()
    lease.take()
    assert lease.mine()


@pytest.mark.slow
def test_a_study_that_the_old_code_ran_is_not_trained_again(
    old: Path, places: Path, tmp_path: Path
) -> None:
    """By the same configuration; a further seed is trained beside it."""
    def study(code: Path, seeds: list[int]) -> Path:
        path = tmp_path / f"{code.name}-{len(seeds)}.yaml"
        path.write_text(yaml.safe_dump({
            "schema": 1, "study": "old", "base": str(code / "configs/study2021.yaml"),
            "grid": {"seed": seeds}, "evaluate_on": ["lfw/eval", "real/test"],
            "set": {"backbone": "resmasking_tiny", "train.epochs": 1, "train.batch_size": 16},
            "gap": {"synthetic": "lfw/eval", "real": "real/test"}}))
        return path

    done = subprocess.run(
        [sys.executable, old / "launch/sweep.py", study(old, [0]), "--cluster", "local"], cwd=old,
        env={**os.environ, "PYTHONPATH": str(old)}, text=True, capture_output=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (run,) = places.glob("runs/*")
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    again = launch("sweep", study(REPOSITORY, [0, 1]))
    assert again.returncode == 0, again.stdout + again.stderr
    assert "1 done" in again.stdout and "is trained: " not in again.stdout
    assert {path: path.read_bytes() for path in before} == before
    assert len(list(places.glob("runs/*"))) == 2
    table = (places / "studies/old/report/results.csv").read_text().splitlines()
    assert len(table) == 1 + 2 * 2  # both runs on both test sets
