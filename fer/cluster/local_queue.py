"""Queue with slots on one machine, on top of submitit's local executor.

The executor alone would start everything at once. The queue plans again whenever a job ends, so
parents come first, children of a failed parent are blocked, and runs of other launchers are waited
for. When interrupted, it requests its jobs to save and exit.
"""

import signal
import socket
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from fer.cluster.arrays import most_alike
from fer.cluster.local_job import LocalJob, start_job
from fer.cluster.local_poll import PollInterval
from fer.cluster.signals import ReceivedSignals, deferred_signals
from fer.config.compatibility import probe_kind
from fer.config.load import dump
from fer.config.run import Data
from fer.errors import CallerError, plural
from fer.machine import cores, visible_gpus
from fer.study.expand import Run
from fer.study.failure import MAX_HANGS, hangs
from fer.study.lease import LeaseTaken
from fer.study.plan import Step
from fer.study.run_folder import Store

POLL_SECONDS = 0.25
MAX_ATTEMPTS = 3  # ends without an error message after which a run counts as failed
GRACE_SECONDS = 60.0  # to save and exit; systemd kills 90 s after its signal


@dataclass(frozen=True)
class Slots:
    """Number of concurrent jobs, each with `ranks` processes.

    `gpus` are those of the slots, `ranks` for each; none on a CPU.
    """

    count: int
    gpus: tuple[int, ...] = ()
    ranks: int = 1

    def gpus_of(self, slot: int) -> tuple[int, ...]:
        """Return the GPUs of a slot."""
        return self.gpus[slot * self.ranks : (slot + 1) * self.ranks]


def slots_of_machine(threads: int, device: str, asked: int = 0, ranks: int = 1) -> Slots:
    """Return one slot per `ranks` GPUs, or on a CPU as many as the cores allow.

    Args:
        threads: CPU threads of a rank.
        device: device of the runs: `cpu`, `cuda`, or `auto` for GPUs if there are any.
        asked: requested number of slots, or 0.
        ranks: processes that train one run together.

    Raises:
        CallerError: more GPUs are needed than this machine has.
    """
    gpus = () if device == "cpu" else visible_gpus()
    if not gpus:
        return Slots(asked or max(1, cores() // (threads * ranks)), (), ranks)
    if ranks > len(gpus):
        raise CallerError(f"resources: a run needs {ranks} GPUs (nodes x gpus), but this machine "
                          f"has {len(gpus)}; set resources.gpus={len(gpus)} resources.nodes=1")
    if asked * ranks > len(gpus):
        raise CallerError(f"--slots {asked}: this machine has {plural(len(gpus), 'GPU')}, and each "
                          f"slot needs {ranks}")
    return Slots(asked or len(gpus) // ranks, gpus, ranks)


class LocalQueue:
    """Queue that executes the plan of a study on this machine.

    Args:
        store: the run folders.
        runs: all runs of the study, parents first.
        splits: `{split: digest}` on which to evaluate every wanted run.
        data: the data sets of those splits.
        jobs: folder for the jobs' pickles and logs, private to this user.
        slots: slots of this machine.
        runs_per_job: maximum number of runs that one process does in sequence.
        show: called with the current plan several times a second.
    """

    def __init__(
        self,
        store: Store,
        runs: Sequence[Run],
        splits: Mapping[str, str],
        data: Data,
        jobs: Path,
        slots: Slots,
        runs_per_job: int,
        show: Callable[[list[Step]], None],
    ) -> None:
        self.store, self.runs, self.splits, self.data = store, runs, splits, data
        self.jobs, self.slots, self.runs_per_job, self.show = jobs, slots, runs_per_job, show
        self.waiting_for = Counter(parent for run in runs for parent in run.parents)
        self.running: list[LocalJob] = []
        self.attempts: Counter[str] = Counter()
        self.outlook = PollInterval(store, runs, splits)

    def work(self) -> list[Step]:
        """Run until nothing more can be done and return the last plan.

        Raises:
            Interrupted: by a signal; all jobs have ended.
        """
        steps: list[Step] = []
        with deferred_signals() as noted:
            try:
                while not noted:
                    ended = self._take_ended()
                    busy = [run for job in self.running for run in job.runs]
                    if self.outlook.due(busy) or ended:
                        steps = self.outlook.look()
                        if self._judge(ended, steps):
                            steps = self.outlook.look()
                        self._start(steps)
                    self.show(steps)
                    foreign = any(step.action in ("running", "queued") for step in steps)
                    if not self.running and not foreign:
                        return steps
                    time.sleep(POLL_SECONDS)
                raise noted.interruption()
            except OSError:
                if noted:  # the terminal hung up
                    raise noted.interruption() from None
                raise
            finally:
                self._leave(noted)

    def _start(self, steps: Sequence[Step]) -> None:
        """Fill free slots with the runs that can start now."""
        busy = {run.id for job in self.running for run in job.runs}
        ready = [s for s in steps if s.action in ("train", "evaluate") and s.run.id not in busy]
        ready.sort(key=lambda step: -self.waiting_for[step.run.id])  # stable: else study order
        free = [n for n in range(self.slots.count) if n not in {job.slot for job in self.running}]
        while ready and free:
            chosen = self._choose(ready)
            self._submit(chosen, free.pop(0))
            taken = {step.run.id for step in chosen}
            ready = [step for step in ready if step.run.id not in taken]

    def _choose(self, ready: Sequence[Step]) -> list[Step]:
        """Return the steps of the next job; a run that crashed a job gets its own job."""
        if self.attempts[ready[0].run.id]:
            return [ready[0]]
        unsuspected = [step for step in ready if not self.attempts[step.run.id]]
        share = -(-len(ready) // self.slots.count)  # leave work for the other slots
        return _first_of(unsuspected, min(share, self.runs_per_job),
                         most_alike(self.runs_per_job, self.slots.ranks))

    def _submit(self, steps: Sequence[Step], slot: int) -> None:
        tasks = [{"folder": str(self.store.folder(step.run).path), "data": dump(self.data),
                  "evaluate": {split: self.splits[split] for split in step.evaluate}}
                 for step in steps]
        for step in steps:
            self.store.folder(step.run).register(step.run, {"cluster": "local", "slot": slot})
        runs = [step.run for step in steps]
        before = {run.id: self.store.folder(run).status() for run in runs}
        ranks = self.slots.ranks
        job = start_job(self.jobs, tasks, ranks, self.slots.gpus_of(slot),
                        free_port() if ranks > 1 else 0)
        self.running.append(LocalJob(job, slot, runs, before))

    def _take_ended(self) -> list[LocalJob]:
        """Remove the jobs that have ended from their slots, and return them."""
        ended = [job for job in self.running if job.over]
        self.running = [job for job in self.running if job not in ended]
        return ended

    def _judge(self, ended: Sequence[LocalJob], steps: Sequence[Step]) -> bool:
        """Count attempts of runs whose job ended without an error; return whether one failed.

        Args:
            steps: the plan after they ended.
        """
        again = {step.run.id for step in steps if step.action in ("train", "evaluate")}
        failed = False
        for job in ended:
            for run in [] if job.ended_well else self._suspects(job, again):
                hung = len(hangs(self.store.folder(run))) >= MAX_HANGS
                self.attempts[run.id] += MAX_ATTEMPTS if hung else 1
                failed |= self.attempts[run.id] >= MAX_ATTEMPTS and self._mark_failed(run, job)
            job.tidy()
        return failed

    def _suspects(self, job: LocalJob, again: set[str]) -> list[Run]:
        """Return the runs that may have crashed a job: those it had begun, else the next one.

        Args:
            again: ids of the runs that would now be restarted.
        """
        left = [run for run in job.runs if run.id in again]
        status = {run.id: self.store.folder(run).status() for run in left}
        begun = [run for run in left if status[run.id].state == "running"
                 and status[run.id] != job.before[run.id]]
        return begun or left[:1]

    def _mark_failed(self, run: Run, job: LocalJob) -> bool:
        """Mark a run as failed, with the end of its job's log; return whether that was done."""
        folder = self.store.folder(run)
        status = folder.status()
        when = ("without an error message" if status != job.before[run.id]
                else "before the run began")
        error = f"its job ended {when}, {MAX_ATTEMPTS} times; log: {job.log}"
        if hung := hangs(folder):
            error = f"hung: {hung[-1]}; the stacks of all ranks are in its log: {job.log}"
        failed = replace(status, state="failed", error=error, traceback=job.tail())
        try:
            folder.lease.take()
        except LeaseTaken:
            return False
        except (CallerError, OSError):  # the cause of its failure: the lease cannot be taken at all
            folder.write_status(failed)
            return True
        folder.write_status(failed)
        folder.lease.release()
        return True

    def _leave(self, noted: ReceivedSignals) -> None:
        """Request the jobs to save and exit; kill those that do not, or on a second Ctrl-C."""
        if self.running:
            with suppress(OSError):  # the terminal hung up
                print(f"waiting for {plural(len(self.running), 'job')} to save and exit; press "
                      "Ctrl-C again to kill", file=sys.stderr)
        begun, handled = time.monotonic(), len(noted.numbers)
        requested = 0.0
        while left := [job for job in self.running if not job.over]:
            now = time.monotonic()
            if now - begun > GRACE_SECONDS or noted.numbers[handled:].count(signal.SIGINT):
                for job in left:
                    job.kill()
            elif now - requested > 1:
                for job in left:
                    job.ask_to_leave()
                requested = now
            time.sleep(0.05)
        for job in self.running:
            job.tidy()


def _first_of(steps: Sequence[Step], size: int, alike: int) -> list[Step]:
    """Return the first `size` steps, or up to `alike` that train together with the first."""
    first = steps[0]
    kind = probe_kind(first.run.config) if alike > 1 and first.action == "train" else None
    same = [step for step in steps if kind is not None and step.action == "train"
            and probe_kind(step.run.config) == kind]
    return same[:alike] if len(same) > 1 else list(steps[:size])


def free_port() -> int:
    """Return a free port on loopback."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
