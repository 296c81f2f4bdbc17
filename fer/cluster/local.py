"""A queue with slots on one machine: submitit's local executor starts what this one lets through.

The local executor alone would start everything at once. The queue plans anew whenever a job ends,
so parents come first, children of a failed parent are blocked, and what another launcher works on
is waited for.
"""

import socket
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import submitit

from fer.cluster.arrays import most_alike
from fer.cluster.job import do_runs
from fer.cluster.local_executor import LocalExecutor
from fer.cluster.machine import cores, visible_gpus
from fer.config.alike import kind_of
from fer.config.load import dump
from fer.config.schema import Data
from fer.errors import CallerError
from fer.study.expand import Run
from fer.study.lease import LeaseTaken
from fer.study.look import Queue, look
from fer.study.plan import Step, plan
from fer.study.store import Store

POLL_SECONDS = 0.25
QUEUE_SECONDS = 15.0
MAX_ATTEMPTS = 3  # how often a run may take its process down before it counts as failed
NO_TIME_LIMIT = 60 * 24 * 365  # minutes


@dataclass(frozen=True)
class Slots:
    """How many jobs run at a time, each with `ranks` processes.

    `gpus` are those of the slots, `ranks` for each; none on a CPU.
    """

    count: int
    gpus: tuple[int, ...] = ()
    ranks: int = 1

    def gpus_of(self, slot: int) -> tuple[int, ...]:
        """Return the GPUs of a slot."""
        return self.gpus[slot * self.ranks : (slot + 1) * self.ranks]


def slots_of_machine(threads: int, device: str, asked: int = 0, ranks: int = 1) -> Slots:
    """Return a slot for every `ranks` GPUs, or on a CPU as many as the cores give.

    Args:
        threads: CPU threads of a rank.
        device: of the runs: `cpu`, `cuda`, or `auto` for GPUs where there are some.
        asked: the number of slots that somebody asked for, or 0.
        ranks: processes that train one run together.

    Raises:
        CallerError: more GPUs are needed than there are.
    """
    gpus = () if device == "cpu" else visible_gpus()
    if not gpus:
        return Slots(asked or max(1, cores() // (threads * ranks)), (), ranks)
    if ranks > len(gpus):
        raise CallerError(f"resources: a run wants {ranks} GPUs (nodes x gpus), and this machine "
                          f"has {len(gpus)}; say resources.gpus={len(gpus)} resources.nodes=1")
    if asked * ranks > len(gpus):
        raise CallerError(f"--slots {asked}: there are {len(gpus)} GPUs, {ranks} for each slot")
    return Slots(asked or len(gpus) // ranks, gpus, ranks)


@dataclass
class _Running:
    """A job in a slot."""

    job: submitit.Job
    slot: int
    runs: list[Run]


class LocalQueue:
    """Carries out the plan of a study on this machine.

    Args:
        store: where the run folders are.
        runs: all runs of the study, parents first.
        splits: `{split: digest}` to evaluate every wanted run on.
        data: the data sets in which those splits are.
        logs: folder for the jobs' logs.
        slots: of this machine.
        runs_per_job: the most runs that one process does one after another.
        show: called with the present plan several times a second.
    """

    def __init__(
        self,
        store: Store,
        runs: Sequence[Run],
        splits: Mapping[str, str],
        data: Data,
        logs: Path,
        slots: Slots,
        runs_per_job: int,
        show: Callable[[list[Step]], None],
    ) -> None:
        self.store, self.runs, self.splits, self.data = store, runs, splits, data
        self.logs, self.slots, self.runs_per_job, self.show = logs, slots, runs_per_job, show
        self.waiting_for = Counter(parent for run in runs for parent in run.parents)
        self.running: list[_Running] = []
        self.attempts: dict[str, int] = {}
        self.queue, self.asked = Queue(store.home), time.monotonic()

    def work(self) -> list[Step]:
        """Run until nothing more can be done and return the last plan."""
        try:
            while True:
                self._reap()
                steps = plan(self.runs, look(self.store, self.runs, self.splits, self._slurm()))
                self._start(steps)
                self.show(steps)
                foreign = any(step.action in ("running", "queued") for step in steps)
                if not self.running and not foreign:
                    return steps
                time.sleep(POLL_SECONDS)
        finally:
            self._stop()

    def _slurm(self) -> Queue:
        """Return SLURM's queue, asked seldom: some runs may have been sent there."""
        if time.monotonic() - self.asked > QUEUE_SECONDS:
            self.queue, self.asked = Queue(self.store.home), time.monotonic()
        return self.queue

    def _start(self, steps: Sequence[Step]) -> None:
        """Fill free slots with what can start now."""
        busy = {run.id for entry in self.running for run in entry.runs}
        ready = [s for s in steps if s.action in ("train", "evaluate") and s.run.id not in busy]
        ready.sort(key=lambda step: -self.waiting_for[step.run.id])  # stable: else study order
        free = [n for n in range(self.slots.count) if n not in {e.slot for e in self.running}]
        while ready and free:
            share = -(-len(ready) // self.slots.count)  # leave something for the other slots
            chosen = _first_of(ready, min(share, self.runs_per_job),
                               most_alike(self.runs_per_job, self.slots.ranks))
            self._submit(chosen, free.pop(0))
            taken = {step.run.id for step in chosen}
            ready = [step for step in ready if step.run.id not in taken]

    def _submit(self, steps: Sequence[Step], slot: int) -> None:
        executor = LocalExecutor(folder=self.logs)
        gpus = self.slots.gpus_of(slot)
        gpu = {"gpus_per_node": len(gpus), "visible_gpus": gpus} if gpus else {}
        executor.update_parameters(timeout_min=NO_TIME_LIMIT, stderr_to_stdout=True,
                                   tasks_per_node=self.slots.ranks, **gpu)
        tasks = [{"folder": str(self.store.folder(step.run).path), "data": dump(self.data),
                  "evaluate": {split: self.splits[split] for split in step.evaluate}}
                 for step in steps]
        for step in steps:
            self.store.folder(step.run).notice(step.run, {"cluster": "local", "slot": slot})
        job = executor.submit(do_runs, tasks, free_port() if self.slots.ranks > 1 else 0)
        self.running.append(_Running(job, slot, [step.run for step in steps]))

    def _reap(self) -> None:
        """Take finished jobs off their slots; a run whose process vanished counts an attempt."""
        for entry in [entry for entry in self.running if entry.job.done()]:
            self.running.remove(entry)
            died = not entry.job.paths.result_pickle.exists()
            for run in entry.runs if died else []:
                folder = self.store.folder(run)
                if folder.status().state == "running" and not folder.lease.held():
                    self._count_attempt(run, entry)
            _tidy(entry.job)

    def _count_attempt(self, run: Run, entry: _Running) -> None:
        self.attempts[run.id] = self.attempts.get(run.id, 0) + 1
        if self.attempts[run.id] < MAX_ATTEMPTS:
            return
        folder = self.store.folder(run)
        try:
            folder.lease.take()
        except LeaseTaken:
            return
        tail = (entry.job.stdout() or "").splitlines()[-5:]
        folder.say(replace(folder.status(), state="failed", traceback="\n".join(tail),
                           error=f"its process ended without a word, {MAX_ATTEMPTS} times; "
                                 f"log: {entry.job.paths.stdout}"))
        folder.lease.release()

    def _stop(self) -> None:
        """End what this launcher started, when it is interrupted."""
        for entry in self.running:
            entry.job.cancel(check=False)
        for entry in self.running:
            while not entry.job.done():
                time.sleep(0.05)
            _tidy(entry.job)


def _first_of(steps: Sequence[Step], size: int, alike: int) -> list[Step]:
    """Return the first `size` steps, or up to `alike` that train together with the first."""
    first = steps[0]
    kind = kind_of(first.run.config) if alike > 1 and first.action == "train" else None
    same = [step for step in steps if kind is not None and step.action == "train"
            and kind_of(step.run.config) == kind]
    return same[:alike] if len(same) > 1 else list(steps[:size])


def free_port() -> int:
    """Return a port of loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _tidy(job: submitit.Job) -> None:
    """Keep a job's log and remove its pickles."""
    results = job.paths.folder.glob(f"{job.job_id}_*_result.pkl")
    for path in (job.paths.submitted_pickle, *results):
        path.unlink(missing_ok=True)
