"""A short job that tries on a node what a study's jobs need, and reports. For `doctor --probe`.

    FER_HOME/studies/.probe/<number>/   script.sh, job log, probe.json

The job imports torch, looks for data, weights and a device, writes to the store, and is requeued
once, as a preempted job is. The launcher waits for its record.
"""

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from shutil import which
from typing import Any

from fer.atomic_io import write_json
from fer.cluster.doctor.finding import Finding, failure, ok, warning
from fer.cluster.job_shape import Shape
from fer.cluster.limits import Partitions, within_limits
from fer.cluster.profile_files import profile_file
from fer.cluster.requeue import REQUEUE
from fer.cluster.sbatch import probe_script
from fer.cluster.sbatch_call import submit_script
from fer.cluster.submit import next_submission, site_of, submitting
from fer.config.paths import REPOSITORY, cache, data_root, home
from fer.config.profile import Profile
from fer.config.study import minutes
from fer.errors import CallerError, Unavailable
from fer.study.job_environment import node_name, restart_of_process
from fer.study.run_folder import Store
from fer.study.slurm_jobs import read_queue
from fer.study.snapshot import snapshot
from fer.study.submission import Submission
from fer.untrusted_io import read_json

NAME = ".probe"  # not the name of a study
MINUTES = 5
PATIENCE_S = 600.0
POLL_S = 5.0


def probe(place: str, profile: Profile, partitions: Partitions) -> Iterator[Finding]:
    """Submit the job, wait for its end and yield what it found."""
    profile = within_limits(profile, partitions)
    limit = min(MINUTES, minutes(profile.time or f"{MINUTES}:00"))
    store = Store(home())
    scripts = store.study(NAME)
    shape = Shape(1, 1, profile.gpu_request != "none", 1, limit)
    try:
        with submitting(store) as lock:
            code = snapshot(REPOSITORY, scripts)
            submission = next_submission(scripts)
            submit_script(submission, probe_script(
                submission.folder, submission.comment, shape, profile,
                site_of(NAME, code, profile)), place, lock)
    except (CallerError, Unavailable) as error:
        yield failure("probe", str(error), f"edit {profile_file(place)}")
        return
    yield from _answer(submission)


def _answer(submission: Submission) -> Iterator[Finding]:
    record, begun = submission.folder / "probe.json", time.monotonic()
    while time.monotonic() - begun < PATIENCE_S:
        found = _read(record)
        if found.get("restart"):
            yield from findings(found)
            return
        job = read_queue()
        live = [one for one in job.with_comment(submission.comment) if one.may_live]
        if job.answered and not live:
            time.sleep(POLL_S)  # for a network disk
            found = _read(record)
            if found.get("restart"):
                continue
            log = next(iter(sorted(submission.folder.glob("*.log"))), submission.folder)
            what = ("it was not requeued" if found else "it ended without a record")
            yield from findings(found)
            yield failure("probe job", f"{what}: job {submission.job}",
                          f"read {log}; a preempted run would be lost here")
            return
        time.sleep(POLL_S)
    yield warning("probe job", f"job {submission.job} has not ended in {PATIENCE_S / 60:.0f} "
                               "minutes", f"later: cat {record}; or scancel {submission.job}")


def findings(found: dict[str, Any]) -> Iterator[Finding]:
    """Yield the findings of a probe's record."""
    if not found:
        return
    where = f"on {found['node']}"
    yield ok("probe: Python", f"{found['python']}, torch {found['torch']}, {where}, imported in "
                              f"{found['import_s']:.0f} s")
    for name, place in found["places"].items():
        if place["writable"] or (name == "FER_DATA" and place["exists"]):
            yield ok(f"probe: {name}", f"{place['path']} is there {where}")
        else:
            yield failure(f"probe: {name}", f"{place['path']} is not there or not writable {where}",
                          "mount it on the nodes, and bind it into the container")
    if found["devices"]:
        yield ok("probe: device", ", ".join(found["devices"]))
    else:
        yield warning("probe: device", f"no GPU {where}",
                      "on a GPU partition check gpu_request and the container's --nv")
    if found["lacks"]:
        yield warning("probe: container", f"no {', '.join(found['lacks'])} inside the command of "
                      "python", "no action needed: the batch script asks SLURM outside")
    if found.get("restart"):
        yield ok("probe: requeue", f"the job came back after {found['away_s']:.0f} s")


def examine_node(folder: Path) -> int:
    """Write what this node has, and ask for a requeue once; return the exit code. In the job."""
    begun = time.monotonic()
    import torch

    record = folder / "probe.json"
    before = _read(record)
    if before:
        write_json(record, {**before, "restart": restart_of_process(),
                            "away_s": time.time() - before["time"]})
        return 0
    places = {"FER_HOME": home(), "FER_DATA": data_root(), "FER_CACHE": cache()}
    gpus = range(torch.cuda.device_count())
    write_json(record, {
        "time": time.time(), "node": node_name(), "python": sys.version.split()[0],
        "torch": torch.__version__, "import_s": time.monotonic() - begun, "restart": 0,
        "places": {name: {"path": str(path), "exists": path.is_dir(),
                          "writable": os.access(path, os.W_OK)} for name, path in places.items()},
        "devices": [torch.cuda.get_device_name(number) for number in gpus],
        "lacks": [name for name in ("squeue", "scontrol") if which(name) is None]})
    return REQUEUE


def _read(record: Path) -> dict[str, Any]:
    try:
        return dict(read_json(record))
    except (OSError, ValueError):
        return {}


if __name__ == "__main__":
    sys.exit(examine_node(Path(sys.argv[1])))
