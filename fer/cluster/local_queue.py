"""A queue with slots on one machine: submitit's local executor starts what this one lets through.

The local executor alone would start everything at once. The queue plans anew whenever a job ends,
so parents come first, children of a failed parent are blocked, and what another launcher works on
is waited for. Interrupted, it has its jobs save and leave.
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
from fer.cluster.poll_interval import PollInterval
from fer.cluster.signals import ReceivedSignals, deferred_signals
from fer.config.compatibility import probe_kind
from fer.config.load import dump
from fer.config.run import Data
from fer.errors import CallerError
from fer.machine import cores, visible_gpus
from fer.study.expand import Run
from fer.study.lease import LeaseTaken
from fer.study.plan import Step
from fer.study.run_folder import Store

POLL_SECONDS = 0.25
MAX_ATTEMPTS = 3  # how often a run's job may end without a word before the run counts as failed
GRACE_SECONDS = 60.0  # to save and leave; systemd kills 90 s after it asked


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


class LocalQueue:
    """Carries out the plan of a study on this machine.

    Args:
        store: where the run folders are.
        runs: all runs of the study, parents first.
        splits: `{split: digest}` to evaluate every wanted run on.
        data: the data sets in which those splits are.
        jobs: folder for the jobs' pickles and logs, private to this user.
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
            Interrupted: a signal asked for the end; all jobs have left.
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
                if noted:  # it was the terminal, which hung up
                    raise noted.interruption() from None
                raise
            finally:
                self._leave(noted)

    def _start(self, steps: Sequence[Step]) -> None:
        """Fill free slots with what can start now."""
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
        """Return the steps of the next job; a run that took one down gets a job of its own."""
        if self.attempts[ready[0].run.id]:
            return [ready[0]]
        unsuspected = [step for step in ready if not self.attempts[step.run.id]]
        share = -(-len(ready) // self.slots.count)  # leave something for the other slots
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
        """Take the jobs off their slots that have ended, and return them."""
        ended = [job for job in self.running if job.over]
        self.running = [job for job in self.running if job not in ended]
        return ended

    def _judge(self, ended: Sequence[LocalJob], steps: Sequence[Step]) -> bool:
        """Count the attempts of runs whose job ended without a word; says whether one failed.

        Args:
            steps: the plan since they ended.
        """
        again = {step.run.id for step in steps if step.action in ("train", "evaluate")}
        failed = False
        for job in ended:
            for run in [] if job.ended_well else self._suspects(job, again):
                self.attempts[run.id] += 1
                failed |= self.attempts[run.id] >= MAX_ATTEMPTS and self._give_up(run, job)
            job.tidy()
        return failed

    def _suspects(self, job: LocalJob, again: set[str]) -> list[Run]:
        """Return the runs that may have taken a job down: what it worked on, else what was next.

        Args:
            again: ids of the runs that would now be started again.
        """
        left = [run for run in job.runs if run.id in again]
        status = {run.id: self.store.folder(run).status() for run in left}
        begun = [run for run in left if status[run.id].state == "running"
                 and status[run.id] != job.before[run.id]]
        return begun or left[:1]

    def _give_up(self, run: Run, job: LocalJob) -> bool:
        """Call a run failed, with the end of its job's log; says whether that was done."""
        folder = self.store.folder(run)
        status = folder.status()
        when = "without a word" if status != job.before[run.id] else "before the run began"
        error = f"its job ended {when}, {MAX_ATTEMPTS} times; log: {job.log}"
        failed = replace(status, state="failed", error=error, traceback=job.tail())
        try:
            folder.lease.take()
        except LeaseTaken:
            return False
        except (CallerError, OSError):  # that is what its jobs died of: nobody can have the lease
            folder.write_status(failed)
            return True
        folder.write_status(failed)
        folder.lease.release()
        return True

    def _leave(self, noted: ReceivedSignals) -> None:
        """Have the jobs save and leave; kill those that do not, or when told a second time."""
        if self.running:
            with suppress(OSError):  # a terminal that hung up
                print(f"{len(self.running)} jobs save and leave; again (Ctrl-C) to kill them",
                      file=sys.stderr)
        begun, told = time.monotonic(), len(noted.numbers)
        asked = 0.0
        while left := [job for job in self.running if not job.over]:
            now = time.monotonic()
            if now - begun > GRACE_SECONDS or noted.numbers[told:].count(signal.SIGINT):
                for job in left:
                    job.kill()
            elif now - asked > 1:
                for job in left:
                    job.ask_to_leave()
                asked = now
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
    """Return a port of loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
