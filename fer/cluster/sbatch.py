"""Batch scripts as text, from the needs of runs and the settings of a profile. Pure."""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fer import CODE_GONE
from fer.cluster.arrays import JobArray, Ref
from fer.cluster.dist_env import RANK_VARIABLES
from fer.cluster.executor import SlurmExecutor
from fer.cluster.job_shape import Shape
from fer.cluster.requeue import REQUEUE, UNSEEN
from fer.config.profile import Profile
from fer.errors import CallerError
from fer.plain_text import has_controls, shortened
from fer.study.snapshot import import_folder
from fer.study.submission import MARKER

ARRAY_LOG = "%A_%a_%t.log"  # array, index, rank: as `Submission.log` names them
JOB_LOG = "%j_%t.log"
REPORT_MINUTES = 60
REPORT_MEMORY = "4G"
REPORT_KEYS = ("account", "begin", "clusters", "exclude", "export", "mail-type", "mail-user",
               "nice", "partition", "priority", "wckey")  # what also applies to a small job


@dataclass(frozen=True)
class Site:
    """Paths used by jobs; the same for all scripts of a submission.

    Attributes:
        study: name of the study.
        code: the snapshot that jobs run.
        python: command that starts Python on a node.
        places: FER_HOME, FER_DATA and FER_CACHE.
    """

    study: str
    code: Path
    python: str
    places: Mapping[str, str] = field(default_factory=dict)


def array_script(
    array: JobArray, folder: Path, comment: str, profile: Profile, site: Site,
    ids: Mapping[int, str],
) -> str:
    """Return the batch script of an array job.

    Args:
        folder: folder of the submission; also for logs.
        comment: by which the launcher finds the job again.
        ids: array number -> job id, or a placeholder if not known yet.
    """
    command = f"{_python(site)} -m fer.cluster.worker {shlex.quote(str(folder))}"
    parameters = {
        "array": f"{array.indices}%{min(len(array.jobs), profile.array_parallelism)}",
        "signal": f"USR2@{profile.signal_delay}",  # to the tasks, not to the shell
        **_dependency(array, ids),
    }
    teardown = _after_tasks(command, "ne 0", "${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID",
                            _unseen(folder, array.shape.lanes))
    return _text(f"fer-{site.study}", _pattern(folder, ARRAY_LOG), comment, array.shape, profile,
                 site, command, parameters, teardown)


def report_script(folder: Path, comment: str, profile: Profile, site: Site, after: str,
                  minutes: int = REPORT_MINUTES) -> str:
    """Return the script of the job that makes the report once all others have ended in any way.

    Args:
        after: ids of the others, separated by colons.
        minutes: time limit.
    """
    profile = _for_report(profile)
    command = f"{_python(site)} launch/report.py {shlex.quote(site.study)} --after-jobs"
    parameters: dict[str, Any] = {"dependency": f"afterany:{after}"} if after else {}
    shape = Shape(nodes=1, ranks=1, gpus=False, threads=1, minutes=minutes)
    return _text(f"fer-{site.study}-report", _pattern(folder, JOB_LOG), comment, shape, profile,
                 site, command, parameters, [])


def _for_report(profile: Profile) -> Profile:
    """Return a profile for a job of one core without GPU, which must not wait for a whole node."""
    asks = profile.memory or profile.memory_per_gpu
    return profile.model_copy(update={
        "partition": profile.report_partition or profile.partition, "constraint": None,
        "qos": None if profile.report_partition else profile.qos,
        "memory": REPORT_MEMORY if asks else None, "memory_per_gpu": None, "cpus_per_gpu": 1,
        "srun": [], "sbatch": {key: value for key, value in profile.sbatch.items()
                               if key.lstrip("-").replace("_", "-") in REPORT_KEYS}})


def search_script(folder: Path, comment: str, shape: Shape, profile: Profile, site: Site) -> str:
    """Return the script of a job that runs a search: one task on each node.

    Args:
        folder: folder of the submission, with its options; also for logs.
    """
    command = f"{_python(site)} -m fer.search.search_worker {shlex.quote(str(folder))}"
    parameters: dict[str, Any] = {"signal": f"USR2@{profile.signal_delay}"}
    if shape.nodes > 1:
        parameters["exclusive"] = True  # Ray uses ports and cores of its nodes
    return _text(f"fer-{site.study}", _pattern(folder, JOB_LOG), comment, shape, profile, site,
                 command, parameters, _after_tasks(command, f"eq {REQUEUE}", "$SLURM_JOB_ID"))


def probe_script(folder: Path, comment: str, shape: Shape, profile: Profile, site: Site) -> str:
    """Return the script of a job that tries what jobs need, and is requeued once."""
    command = f"{_python(site)} -m fer.cluster.doctor.probe {shlex.quote(str(folder))}"
    return _text("fer-probe", _pattern(folder, JOB_LOG), comment, shape, profile, site, command, {},
                 _teardown(_requeue_if("$code", "$SLURM_JOB_ID")))


def _unseen(folder: Path, lanes: int) -> str:
    """Return the shell line that changes a 0 of `srun` if a task did not finish."""
    markers = (f"{shlex.quote(str(folder))}/"
               f"{MARKER.format(index='$SLURM_ARRAY_TASK_ID', lane='*')}")
    return (f'[ "$code" -ne 0 ] || [ "$(ls -d {markers} 2>/dev/null | wc -l)" -ge {lanes} ] '
            f"|| code={UNSEEN}")


def _after_tasks(command: str, condition: str, job: str, *first: str) -> list[str]:
    """Return the shell lines that requeue the job if `command --ended` exits with `REQUEUE`.

    `scontrol` is called by the shell, since `command` may run in a container without it.
    """
    return _teardown(
        *first,
        f'if [ "$code" -{condition} ]; then',
        f'  state=$(try scontrol show job --oneliner "{job}")',
        f'  {command} --ended "$code" "$state"',
        f'  {_requeue_if("$?", job)}',
        "fi")


def _teardown(*lines: str) -> list[str]:
    """Return shell lines that see the exit code of `srun` as `$code` and exit with it.

    `try` repeats a command for a minute, since the controller may be restarting.
    """
    return ["code=$?", 'try() { for _ in {1..30}; do "$@" && return; sleep 2; done; return 1; }',
            *lines, 'exit "$code"']


def _requeue_if(code: str, job: str) -> str:
    return f'[ {code} -ne {REQUEUE} ] || {{ try scontrol requeue "{job}" && exit 0; }}'


def _pattern(folder: Path, name: str) -> str:
    """Return a log's path for SLURM, with the folder's percent signs doubled."""
    return f"{str(folder).replace('%', '%%')}/{name}"


def _of_first_rank(log: str) -> str:
    """Return the log of the batch script, which is that of rank 0; `%t` is the rank."""
    folder, _, name = log.rpartition("/")
    return f"{folder}/{name.replace('%t', '0')}"


def _text(
    name: str, log: str, comment: str, shape: Shape, profile: Profile, site: Site, command: str,
    parameters: Mapping[str, Any], teardown: list[str],
) -> str:
    more: dict[str, Any] = {
        "requeue": True, "kill-on-invalid-dep": "yes", "output": _of_first_rank(log),
        **_gpus(shape, profile), **profile.sbatch, **parameters}
    if profile.reservation:
        more["reservation"] = profile.reservation
    named = {key: getattr(profile, key) for key in (
        "partition", "account", "qos", "constraint", "exclude")}
    _refuse_line_breaks({"job-name": name, "comment": comment, **named, **more})
    srun = shlex.join(["srun", "--unbuffered", f"--output={log}", *_srun(shape, profile)])
    executor = SlurmExecutor(site.code)
    executor.update_parameters(
        job_name=name, comment=comment, wckey=None, time=shape.minutes, nodes=shape.nodes,
        ntasks_per_node=shape.ranks, cpus_per_task=_cores(shape, profile),
        **named, mem=_memory(shape, profile),
        stderr_to_stdout=True, additional_parameters=more, use_srun=False,
        setup=_setup(shape, profile, site), teardown=teardown or None)
    return executor.script(f"{srun} {command}")


def _refuse_line_breaks(parameters: Mapping[str, Any]) -> None:
    """Raise a `CallerError` if a parameter would end its `#SBATCH` line and become a command."""
    for key, value in parameters.items():
        if has_controls(f"{key}{value}"):
            raise CallerError(f"sbatch's {shortened(key)}: {shortened(repr(value))} has a line "
                              "break or another control character")


def _cores(shape: Shape, profile: Profile) -> int:
    return max(shape.threads, profile.cpus_per_gpu * shape.gpus_a_rank if shape.gpus else 1)


def _memory(shape: Shape, profile: Profile) -> str | None:
    if shape.memory:
        return shape.memory
    if profile.memory or not profile.memory_per_gpu:
        return profile.memory
    gpus = shape.ranks * shape.gpus_a_rank
    return f"{int(profile.memory_per_gpu[:-1]) * gpus}{profile.memory_per_gpu[-1]}"


def _gpus(shape: Shape, profile: Profile) -> dict[str, str]:
    if not shape.gpus or profile.gpu_request == "none":
        return {}
    kind = f"{profile.gpu_type}:" if profile.gpu_type else ""
    gpus = shape.ranks * shape.gpus_a_rank
    return {"gpus_per_node": {"gpus-per-node": f"{kind}{gpus}"},
            "gres": {"gres": f"gpu:{kind}{gpus}"},
            "gpus_per_task": {"gpus-per-task": f"{kind}{shape.gpus_a_rank}"}}[profile.gpu_request]


def _srun(shape: Shape, profile: Profile) -> list[str]:
    # srun does not inherit the cores; the death of one rank must end the others, but not the runs
    # beside it
    together = (["--kill-on-bad-exit=1"] if shape.lanes == 1 else
                ["--kill-on-bad-exit=0", "--wait=0"])
    return [f"--cpus-per-task={_cores(shape, profile)}", *together, *profile.srun]


def _setup(shape: Shape, profile: Profile, site: Site) -> list[str]:
    exports = {
        **profile.environment, **site.places, "PYTHONPATH": str(import_folder(site.code)),
        "OMP_NUM_THREADS": str(shape.threads), "FER_MAX_RESTARTS": str(profile.max_restarts),
        "FER_HANG_S": f"{profile.hang_minutes * 60:g}"}
    if profile.network_interface:
        exports |= {name: profile.network_interface
                    for name in ("NCCL_SOCKET_IFNAME", "GLOO_SOCKET_IFNAME")}
    if shape.lanes > 1:
        exports["FER_LANES"] = str(shape.lanes)
    if profile.scratch:
        exports["FER_SCRATCH"] = profile.scratch
    lines = [f"export {name}={quoted(value)}" if name in (*profile.environment, "FER_SCRATCH")
             and name not in site.places else f"export {name}={shlex.quote(value)}"
             for name, value in exports.items()]
    # the save-and-exit signal is for Python: the shell must survive it
    several = shape.nodes * shape.ranks > 1 and shape.lanes == 1
    gone = f"{site.code}: {CODE_GONE}"
    return ["trap : TERM",
            # of the launching shell: each would mislead srun or a rank
            "export SLURM_EXPORT_ENV=ALL", f"unset {' '.join(RANK_VARIABLES)}",
            *profile.setup, *lines,
            f"cd {shlex.quote(str(site.code))} || {{ echo {shlex.quote(gone)} >&2; exit 1; }}",
            *([f"export FER_PORT=$({_python(site)} -m fer.cluster.dist_env)"] if several else [])]


def _python(site: Site) -> str:
    """Return the command that starts Python with the snapshot's `fer` and no other folder."""
    return f"{site.python} -u {shlex.quote(str(site.code / 'fer/safe_path.py'))}"


def quoted(value: str) -> str:
    """Quote a profile's value for the shell; variables in it are expanded on the node."""
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("`", "\\`")
    return f'"{escaped}"'


def _dependency(array: JobArray, ids: Mapping[int, str]) -> dict[str, str]:
    if array.corresponds is not None:
        return {"dependency": f"aftercorr:{ids[array.corresponds]}"}
    names = [f"{ids[ref.array]}_{ref.index}" if isinstance(ref, Ref) else ref
             for ref in array.after]
    return {"dependency": "afterok:" + ":".join(names)} if names else {}
