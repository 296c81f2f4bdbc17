"""Checks of SLURM: tools, controller, partition, account, limits, accounting, node names."""

import shutil
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from fer.cluster.arrays import JobArray
from fer.cluster.dist_env import outside_job
from fer.cluster.doctor.finding import Finding, failure, ok, warning
from fer.cluster.doctor.probe import probe
from fer.cluster.job_shape import Shape
from fer.cluster.limits import (
    Partitions,
    check_partitions,
    max_array_size,
    report_minutes,
    within_limits,
)
from fer.cluster.profile_files import profile_file
from fer.cluster.sbatch import array_script, report_script
from fer.cluster.submit import site_of
from fer.config.profile import Profile
from fer.config.study import Resources, minutes
from fer.errors import CallerError
from fer.study.slurm_client import ask

TOOLS = ("sbatch", "srun", "squeue", "scontrol", "scancel", "sinfo")
SHORT_SIGNAL = 60  # seconds; a large checkpoint on a busy disk takes longer


def check_slurm(place: str, profile: Profile, resources: Resources, with_probe: bool = False
                ) -> Iterator[Finding]:
    """Yield findings on a profile and its cluster, for the resources of one job of a study.

    Args:
        with_probe: whether to submit a job that tries a node.
    """
    absent = [tool for tool in TOOLS if shutil.which(tool) is None]
    if absent:
        yield failure("SLURM tools", f"{', '.join(absent)} not found",
                      "run this on a login node; you may have to load a module")
        return
    version = ask(["sinfo", "--version"])
    if ask(["sinfo", "--noheader", "--format=%R"]) is None:
        yield failure("SLURM", "the controller does not respond",
                      "check scontrol ping and SLURM_CONF")
        return
    yield ok("SLURM", (version or "").strip())
    try:
        partitions = check_partitions(place, profile, resources.nodes)
    except CallerError as error:
        yield failure("partitions", str(error), "sinfo -s lists them")
        return
    yield test_submission(place, profile, resources, partitions)
    yield test_report(place, profile, partitions)
    yield _accounting()
    yield ok("arrays", f"up to {max_array_size()} jobs each (MaxArraySize)")
    yield _names(profile)
    if profile.signal_delay < SHORT_SIGNAL:
        yield warning("signal_delay", f"{profile.signal_delay} s before the time limit",
                      "give large models more time to save: signal_delay: 120")
    else:
        yield ok("signal_delay", f"{profile.signal_delay} s to save before the time limit")
    if with_probe:
        yield from probe(place, profile, partitions)


def test_submission(place: str, profile: Profile, resources: Resources, partitions: Partitions
                    ) -> Finding:
    """Check whether `sbatch --test-only` accepts a job such as the study would submit."""
    profile = within_limits(profile, partitions)
    limit = min(minutes(resources.time), minutes(profile.time or resources.time))
    shape = Shape(resources.nodes, resources.gpus, profile.gpu_request != "none", 1, limit)
    refusal = _refusal(lambda folder: array_script(
        JobArray(1, shape, {0: ()}), folder, "fer:doctor", profile,
        site_of("doctor", folder, profile), {}))
    what = "partition, account and time limit"
    if refusal:
        return failure(what, refusal, f"edit {profile_file(place)}; sinfo -s and sacctmgr show "
                                      "associations user=$USER list the valid values")
    return ok(what, f"sbatch --test-only accepts {resources.nodes} × {resources.gpus} GPUs for "
                    f"{limit} minutes")


def test_report(place: str, profile: Profile, partitions: Partitions) -> Finding:
    """Check whether `sbatch --test-only` accepts the job that makes the report."""
    time = report_minutes(profile, partitions)
    refusal = _refusal(lambda folder: report_script(
        folder, "fer:doctor", profile, site_of("doctor", folder, profile), "", time))
    if refusal:
        return failure("report job", refusal, f"set report_partition in {profile_file(place)} to "
                                              "one that takes jobs without GPUs")
    return ok("report job", f"sbatch --test-only accepts one core for {time} minutes")


def _refusal(script: Callable[[Path], str]) -> str:
    """Return why `sbatch --test-only` rejects a script; empty if it accepts it."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "script.sh").write_text(script(Path(folder)))
        done = subprocess.run(["sbatch", "--test-only", f"{folder}/script.sh"],
                              capture_output=True, text=True, env=outside_job())
    message = " ".join(done.stderr.split()).replace("sbatch: error: ", "")
    return (message or "rejected") if done.returncode else ""


def _accounting() -> Finding:
    if ask(["sacct", "--allocations", "--noheader", "--starttime=now-1hours"]) is None:
        return warning("accounting", "sacct does not respond", "no action needed: states come "
                       "from squeue and the run folders; jobs cancelled before they began are "
                       "known only as long as SLURM remembers them")
    return ok("accounting", "sacct responds")


def _names(profile: Profile) -> Finding:
    """Check whether node names resolve, which multi-node jobs need."""
    command = ["sinfo", "--noheader", "--Node", "--format=%N"]
    if profile.partition:
        command.append(f"--partition={profile.partition}")
    nodes = (ask(command) or "").split()[:1]
    if not nodes:
        return warning("node names", "the partition has no nodes", "check sinfo -p PARTITION")
    try:
        socket.getaddrinfo(nodes[0], None)
    except OSError:
        return ok("node names", f"{nodes[0]} does not resolve: the address of the first node is "
                                "used")
    return ok("node names", f"{nodes[0]} resolves")
