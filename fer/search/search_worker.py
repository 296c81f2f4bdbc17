"""Entry point of a search's job: one task on each node, the first of which searches.

    srun ... python -u -m fer.search.search_worker SUBMISSION              on every node
    python -u -m fer.search.search_worker SUBMISSION --ended CODE STATE    if it was interrupted
"""

import os
import signal
import sys
from pathlib import Path
from typing import Any

from fer.cluster.requeue import REQUEUE, after_tasks, job_now
from fer.search.options import TuneOptions
from fer.search.ray_local import LEAVING
from fer.study.job_environment import restart_of_process
from fer.study.submission import Submission
from fer.untrusted_io import read_json


class StopLatch:
    """Latch that records a save-and-exit signal; later ones have no effect."""

    def __init__(self) -> None:
        self._raised = False

    def __call__(self, number: int, frame: object) -> None:
        self._raised = True

    def raised(self) -> bool:
        """Return whether save and exit was requested."""
        return self._raised


def main(arguments: list[str]) -> int:
    """Search, or provide this node to the search; return the exit code."""
    folder = Path(arguments[0])
    nodes = int(os.environ["SLURM_JOB_NUM_NODES"])
    job = os.environ["SLURM_JOB_ID"]
    os.environ |= {"FER_JOB": job, "FER_START": f"{job}.{restart_of_process()}",
                   "FER_COMMENT": Submission(folder).comment}
    if arguments[1:2] == ["--ended"]:
        return after_tasks([], int(arguments[2]), folder / f"{job}_0.log", job_now(arguments[3]))
    print(f"job {job}, start {restart_of_process()}: task {os.environ['SLURM_PROCID']} of {nodes} "
          f"on {os.environ.get('SLURMD_NODENAME')}", flush=True)
    if os.environ["SLURM_PROCID"] != "0":
        from fer.search.ray_slurm import serve

        return serve(folder)
    latch = StopLatch()
    for number in LEAVING:  # the search installs its own handlers while trials run
        signal.signal(number, latch)
    from fer.search.ray_slurm import Rendezvous, ray_over_nodes
    from fer.search.run_search import INTERRUPTED, search_here

    asked: dict[str, Any] = read_json(folder / "asked.json")
    try:
        code = search_here(TuneOptions(**asked),
                           ray_over_nodes(folder, nodes) if nodes > 1 else None,
                           asked_to_leave=latch.raised)
    finally:
        Rendezvous(folder).close()
    if code != INTERRUPTED:
        return code
    return REQUEUE


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
