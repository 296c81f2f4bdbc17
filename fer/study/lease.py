"""Who works on a run: one owner at a time, dead only when process table or queue say so.

The lease is one file that is never removed; an empty one is free. Reading, judging and writing
happen under an advisory lock on that file, so two launchers cannot both find a dead owner and
take over. No clock is asked: a paused process keeps its lease.
"""

import contextlib
import fcntl
import json
import os
import socket
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from fer.boot import boot_id
from fer.study.jobs import Jobs, job_of_process, read_queue


class LeaseLost(RuntimeError):
    """Another process took the run over; this one must not publish anything more."""


class LeaseTaken(RuntimeError):
    """A live process works on the run."""


@dataclass(frozen=True)
class Owner:
    """A process on a host, told from every other one, also after a reboot or a reused pid.

    In a SLURM job `job` and `restart` say which start of which job it belongs to.
    """

    host: str
    boot: str
    pid: int
    started: str
    job: str = ""
    restart: int = 0

    @staticmethod
    def myself() -> "Owner":
        """Return this process as an owner."""
        job, restart = job_of_process() or ("", 0)
        return Owner(socket.gethostname(), boot_id(), os.getpid(),
                     _start_time(os.getpid()) or "", job, restart)

    def alive(self, jobs: Jobs | None = None) -> bool:
        """Say whether the process may still exist.

        One on this host is looked for; one in a job lives no longer than the job's start, and of
        one on another host outside a job nothing can be known, so it counts as alive.

        Args:
            jobs: the queue, where the caller has just read it; None reads it where it matters.
        """
        if self.host == socket.gethostname() and not self._in_process_table():
            return False
        if not self.job:
            return True
        here = job_of_process()
        if here and here[0] == self.job:  # an earlier start of this very job is over, and so is
            return self.restart >= here[1]  # ours where there is a later one: our node was lost
        return (read_queue() if jobs is None else jobs).may_work(self.job, self.restart)

    def _in_process_table(self) -> bool:
        return self.boot == boot_id() and self.started == _start_time(self.pid)


def _start_time(pid: int) -> str | None:
    """Return when a process started, in its kernel's own unit; None where there is none."""
    if Path("/proc/self/stat").exists():
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return None
        zombie = fields[0] in ("Z", "X")
        return None if zombie else fields[19]
    try:
        return repr(psutil.Process(pid).create_time())
    except psutil.NoSuchProcess:
        return None


class Lease:
    """The lease of one run folder, seen from this process."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def take(self) -> None:
        """Make this process the owner.

        Raises:
            LeaseTaken: a live process has it.
        """
        me = Owner.myself()
        with self._locked() as handle:
            owner = _read(handle)
            if owner is not None and owner != me and owner.alive():
                raise LeaseTaken(f"{self.path}: {_called(owner)} works on it")
            _write(handle, json.dumps(asdict(me)))

    def mine(self) -> bool:
        """Say whether this process is the owner."""
        return self.owner() == Owner.myself()

    def check(self) -> None:
        """Raise `LeaseLost` unless this process is the owner."""
        owner = self.owner()
        if owner != Owner.myself():
            raise LeaseLost(f"{self.path}: taken over by {_called(owner) if owner else 'nobody'}")

    def release(self) -> None:
        """Free the lease if this process has it."""
        with self._locked() as handle:
            if _read(handle) == Owner.myself():
                _write(handle, "")

    def free_after_death(self) -> None:
        """Free the lease for who knows that its owner is dead, as of an actor on another node."""
        with self._locked() as handle:
            owner = _read(handle)
            here = job_of_process()
            if (owner is not None and here is not None and owner.job == here[0]
                    and owner.restart <= here[1]):
                _write(handle, "")

    def owner(self) -> Owner | None:
        """Return who has the lease, dead or alive."""
        try:
            with open(self.path, encoding="utf-8") as handle:
                return _parse(handle.read())
        except FileNotFoundError:
            return None

    def held(self, jobs: Jobs | None = None) -> bool:
        """Say whether a live process has the lease; `jobs` as for `Owner.alive`."""
        owner = self.owner()
        return owner is not None and owner.alive(jobs)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[int]:
        handle = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield handle
        finally:
            os.close(handle)  # which unlocks


def _called(owner: Owner) -> str:
    job = f" of job {owner.job}" if owner.job else ""
    return f"process {owner.pid}{job} on {owner.host}"


def _read(handle: int) -> Owner | None:
    return _parse(os.pread(handle, 4096, 0).decode(errors="replace"))


def _parse(text: str) -> Owner | None:
    """Return the owner; None where the file is empty or was cut short by a crash while writing."""
    try:
        return Owner(**json.loads(text))
    except (ValueError, TypeError):
        return None


def _write(handle: int, text: str) -> None:
    os.pwrite(handle, text.encode(), 0)
    os.ftruncate(handle, len(text.encode()))
    os.fsync(handle)
