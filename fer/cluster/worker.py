"""Entry point of a SLURM job: one task (one rank) of one job of an array.

    srun ... python -u -m fer.cluster.worker SUBMISSION                   on every rank
    python -u -m fer.cluster.worker SUBMISSION --ended CODE STATE   once, if they did not finish

A signal sets a flag that the training loop checks; all ranks save and exit together with code
`REQUEUE`. A task that finished leaves a marker, since `srun` ends with 0 after it lost its tasks.
The second call decides whether the batch script requeues the job.
"""

import os
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path

from fer.cluster.dist_env import set_ranks, slurm_ranks
from fer.cluster.requeue import REQUEUE, after_tasks, job_now, refuse_restart
from fer.config.paths import home
from fer.study.job_environment import restart_of_process
from fer.study.run_folder import RunFolder
from fer.study.submission import Submission, Work

MAX_STALLS = 3
EXIT_S = 2.0  # for the other ranks to exit: srun kills them when rank 0 exits with an error
PREEMPTING = (signal.SIGUSR2, signal.SIGTERM)


class StopFlag:
    """Flag raised by a save-and-exit signal or the loss of the step daemon.

    Forked children inherit the handler; only the process that made the flag reacts. SLURM cannot
    see a process that outlives its step daemon, so its job would never end.
    """

    def __init__(self) -> None:
        self.raised = False
        self._owner, self._parent = os.getpid(), os.getppid()
        for number in PREEMPTING:
            signal.signal(number, self._raise)
        signal.signal(signal.SIGCONT, signal.SIG_IGN)

    def __call__(self) -> bool:
        return self.raised or os.getppid() != self._parent

    def _raise(self, number: int, frame: object) -> None:
        if os.getpid() == self._owner:
            self.raised = True
            # reentrant, unlike print
            os.write(2, f"got {signal.Signals(number).name}: saving and exiting\n".encode())


def main(arguments: list[str]) -> int:
    """Do the work of this job, or handle its failure; return the exit code."""
    submission = Submission(Path(arguments[0]))
    array, index = os.environ["SLURM_ARRAY_JOB_ID"], os.environ["SLURM_ARRAY_TASK_ID"]
    restart = restart_of_process()
    os.environ |= {"FER_JOB": f"{array}_{index}", "FER_START": f"{array}_{index}.{restart}",
                   "FER_COMMENT": submission.comment}
    work = submission.work_of(int(index))
    lanes = int(os.environ.get("FER_LANES", "1"))
    side_by_side = lanes > 1 and arguments[1:2] != ["--ended"]
    lane = int(os.environ["SLURM_LOCALID"]) if side_by_side else 0
    if side_by_side:
        work = take_lane(work, lane, lanes)
    folders = [RunFolder(home() / "runs" / name) for name, _ in work.runs]
    if arguments[1:2] == ["--ended"]:
        code, state = int(arguments[2]), arguments[3]
        return after_tasks(folders, code, submission.log(int(index), array), job_now(state))
    first = side_by_side or os.environ["SLURM_PROCID"] == "0"
    if refuse_restart(folders, restart, first):
        return 1
    code = _train(folders, work)
    if code == 0 and os.environ.get("RANK", "0") == "0":
        submission.marker(int(index), lane).touch()
    return code


def take_lane(work: Work, lane: int, lanes: int) -> Work:
    """Return the runs of one of several tasks side by side, and make its GPU the only visible one.
    """
    os.environ["SLURM_NTASKS"] = "1"  # it trains alone
    visible = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    if len(visible) >= lanes:
        os.environ["CUDA_VISIBLE_DEVICES"] = visible[lane]
    return replace(work, runs=work.runs[lane::lanes])


def _train(folders: list[RunFolder], work: Work) -> int:
    stop = StopFlag()
    set_ranks(slurm_ranks(os.environ))
    print(_greeting(), flush=True)
    # imported here, so that the handlers are installed before the slow imports
    from fer.train.callbacks import Callbacks
    from fer.train.run_tasks import Task
    from fer.train.run_tasks import work as work_on
    from fer.train.watchdog import watched

    tasks = [Task(folder.path, {split: work.splits[split] for split in splits}, work.data,
                  MAX_STALLS)
             for folder, (_, splits) in zip(folders, work.runs, strict=True)]
    outcomes = work_on(tasks, Callbacks(stop_requested=watched(stop, folders)))
    print(", ".join(f"{folder.name}: {outcome}"
                    for folder, outcome in zip(folders, outcomes, strict=False)), flush=True)
    if os.environ.get("RANK", "0") != "0":
        return 0  # rank 0 decides; a network disk may lag behind here
    if "preempted" in outcomes:
        if "RANK" in os.environ:
            time.sleep(EXIT_S)
        return REQUEUE
    return 0 if all(folder.trained and not folder.needs_retry for folder in folders) else 1


def _greeting() -> str:
    ranks = os.environ.get("RANK", "0"), os.environ.get("WORLD_SIZE", "1")
    return (f"job {os.environ['FER_JOB']}, start {restart_of_process()}: "
            f"rank {ranks[0]} of {ranks[1]} on {os.environ.get('SLURMD_NODENAME')}, local rank "
            f"{os.environ.get('LOCAL_RANK', '0')}, "
            f"GPUs {os.environ.get('CUDA_VISIBLE_DEVICES', 'none')}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
