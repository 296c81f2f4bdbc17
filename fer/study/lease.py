"""Lease of a run: one owner at a time, dead only if the process table or the queue says so.

The lease is one file that is never removed; an empty file is free. It is read, judged and written
under an advisory lock on that file, so two launchers cannot both find a dead owner and take over.
There is no timeout: a paused process keeps its lease.

The identity of the owner's job is in `lease.owner.json`, because older versions read a lease with
additional fields as free.
"""

import json
import os
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

from fer.atomic_io import write_json
from fer.locks import locked
from fer.machine import boot_id
from fer.study.job_environment import identity_of_process, job_of_process, restart_of_process
from fer.study.slurm_jobs import JobIdentity, Jobs, read_queue
from fer.untrusted_io import NotRegular, parse_json, read_bytes, read_json, record


class LeaseLost(RuntimeError):
    """Another process took over the run; this one must not publish anything more."""


class LeaseTaken(RuntimeError):
    """A live process works on the run."""


@dataclass(frozen=True)
class Owner:
    """Unique identity of a process on a host, even after a reboot or with a reused pid.

    In a SLURM job, `job` and `restart` give the job and its start.
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

    def alive(self, jobs: Jobs | None = None, known: JobIdentity | None = None) -> bool:
        """Return whether the process may still exist.

        On this host the process table decides. A process in a job lives no longer than that start
        of the job. A process on another host outside a job counts as alive.

        Args:
            jobs: the queue if just read; None reads it when needed.
            known: identity of the owner's job; without its cluster, the owner counts as alive.
        """
        here = self.host == socket.gethostname()
        if here and not self._in_process_table():
            return False
        known = known or JobIdentity(self.job)
        if self.job and known.same_job(identity_of_process()):
            # earlier starts of this job are over; if there is a later one, our node was lost and
            # ours is over too
            return self.restart >= restart_of_process()
        if here or not self.job:  # here: the process exists, whatever squeue says
            return True
        return (read_queue() if jobs is None else jobs).may_work(known, self.restart)

    def _in_process_table(self) -> bool:
        if self.boot != boot_id():
            return False
        return self.started == _start_time(self.pid) or _is_hidden(self.pid)


def _start_time(pid: int) -> str | None:
    """Return the start time of a process, in the kernel's unit; None if it does not exist."""
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


def _is_hidden(pid: int) -> bool:
    """Return whether the process exists but is another user's and hidden (hidepid)."""
    if Path(f"/proc/{pid}").exists() or not Path("/proc/self").exists():
        return False
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except (OSError, OverflowError):
        return False
    return False


class Lease:
    """The lease of one run folder, seen from this process.

    Args:
        sent: returns the job that the run was submitted to; used if the owner's job was not
            recorded.
    """

    def __init__(self, path: Path, sent: Callable[[], JobIdentity | None] = lambda: None) -> None:
        self.path, self._sent = path, sent

    def take(self) -> None:
        """Make this process the owner.

        Raises:
            LeaseTaken: a live process has it.
        """
        me = Owner.myself()
        with locked(self.path) as handle:
            owner = _read(handle)
            if owner is not None and owner != me and owner.alive(known=self.job_of(owner)):
                raise LeaseTaken(f"{self.path}: {_called(owner)} works on it")
            # before the lease: an owner without a record could never be found dead
            self._note(me, identity_of_process(), keep=owner)
            _write(handle, json.dumps(asdict(me)))

    def mine(self) -> bool:
        """Return whether this process is the owner."""
        return self.owner() == Owner.myself()

    def check(self) -> None:
        """Raise `LeaseLost` unless this process is the owner."""
        owner = self.owner()
        if owner != Owner.myself():
            raise LeaseLost(f"{self.path}: taken over by {_called(owner) if owner else 'nobody'}")

    def release(self) -> None:
        """Free the lease if this process has it."""
        with locked(self.path) as handle:
            if _read(handle) == Owner.myself():
                _write(handle, "")

    def free_after_death(self) -> None:
        """Free the lease if the caller knows the owner is dead, such as an actor on another node.
        """
        with locked(self.path) as handle:
            owner = _read(handle)
            if owner is not None and self.of_this_job() and owner.restart <= restart_of_process():
                _write(handle, "")

    def free_if_dead(self, jobs: Jobs) -> None:
        """Free the lease of a dead owner, before a job that may be unable to ask SLURM takes it.

        Args:
            jobs: the queue as just read.
        """
        if self.owner() is None:
            return
        with locked(self.path) as handle:
            owner = _read(handle)
            if owner is not None and not owner.alive(jobs, self.job_of(owner)):
                _write(handle, "")

    def of_this_job(self) -> bool:
        """Return whether the owner, dead or alive, belongs to the job of this process."""
        owner = self.owner()
        return (owner is not None and bool(owner.job)
                and self.job_of(owner).same_job(identity_of_process()))

    def owner(self) -> Owner | None:
        """Return the owner, dead or alive."""
        try:
            return _parse(read_bytes(self.path).decode("utf-8", "replace"))
        except (FileNotFoundError, NotRegular):
            return None

    def held(self, jobs: Jobs | None = None) -> bool:
        """Return whether a live process has the lease; `jobs` as for `Owner.alive`."""
        owner = self.owner()
        return owner is not None and owner.alive(jobs, self.job_of(owner))

    def job_of(self, owner: Owner) -> JobIdentity:
        """Return the job and user of an owner of this lease, as far as known."""
        for entry in self._noted():
            if entry.get("owner") == asdict(owner):
                return JobIdentity(owner.job, *(str(entry.get(key, ""))
                                                for key in ("cluster", "user", "comment")))
        sent = self._sent() if owner.job else None
        return sent if sent is not None and sent.id == owner.job else JobIdentity(owner.job)

    def keep_sender(self) -> None:
        """Record the identity of the owner's job before the run is submitted elsewhere."""
        owner = self.owner()
        if owner is None or not owner.job or self.job_of(owner) == JobIdentity(owner.job):
            return
        with locked(self.path) as handle:
            owner = _read(handle)
            if owner and not any(one.get("owner") == asdict(owner) for one in self._noted()):
                self._note(owner, self.job_of(owner))

    def _noted(self) -> list[dict[str, Any]]:
        with suppress(OSError, ValueError, KeyError, TypeError):
            return [dict(entry) for entry in read_json(self._note_file)["owners"]]
        return []

    def _note(self, owner: Owner, known: JobIdentity, keep: Owner | None = None) -> None:
        """Record the job and user of an owner, keeping those of the previous one."""
        kept = [one for one in self._noted() if keep is not None
                and one.get("owner") == asdict(keep) != asdict(owner)]
        entry = {"owner": asdict(owner), "cluster": known.cluster, "user": known.user,
                 "comment": known.comment}
        write_json(self._note_file, {"owners": [entry, *kept]})

    @property
    def _note_file(self) -> Path:
        return self.path.with_name(f"{self.path.name}.owner.json")


def _called(owner: Owner) -> str:
    job = f" of job {owner.job}" if owner.job else ""
    return f"process {owner.pid}{job} on {owner.host}"


def _read(handle: int) -> Owner | None:
    return _parse(os.pread(handle, 4096, 0).decode(errors="replace"))


def _parse(text: str) -> Owner | None:
    """Return the owner; None if the file is empty or was truncated by a crash."""
    try:
        return record(Owner, parse_json(text))
    except ValueError:
        return None


def _write(handle: int, text: str) -> None:
    os.pwrite(handle, text.encode(), 0)
    os.ftruncate(handle, len(text.encode()))
    os.fsync(handle)
