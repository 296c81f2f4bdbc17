"""One Ray over the nodes of a SLURM job: a head on the first, workers on the others.

Each node's Ray is a child of the task there, on a port of the job, with what SLURM lent it, and is
ended with it: no `ray stop`, which would end everybody's.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from fer.atomic_io import write_json
from fer.cluster.dist_env import free_port_from, job_port
from fer.machine import cores, count_gpus
from fer.safe_path import python
from fer.search.ray_local import FOLDERS, OBJECT_STORE, PREFIX, settings
from fer.study.slurm_jobs import restart_of_process

PATIENCE_S = 180.0
ENDING_S = 15.0
# Ray's own range for its workers, 10002-19999, has two of five of the ports that jobs may get
ANY_PORTS = ["--min-worker-port=0", "--max-worker-port=0"]
STARTS = 3  # Ray gives up after 30 s on a node that is busy, or when its port was taken meanwhile


class Rendezvous:
    """The files by which the tasks of one start of a job find each other, in its folder."""

    def __init__(self, folder: Path) -> None:
        restart = restart_of_process()
        self._head, self._over = folder / f"head-{restart}.json", folder / f"over-{restart}"

    def open(self, address: str) -> None:
        """Say where the head listens."""
        write_json(self._head, {"address": address})

    def close(self) -> None:
        """Say that the search has ended or leaves."""
        self._over.touch()

    @property
    def over(self) -> bool:
        """Whether the first task has said so."""
        return self._over.exists()

    def address(self) -> str | None:
        """Return where the head listens, when it does; None where the search ends before.

        Waits as long as it takes: if the first task dies, SLURM ends this one.
        """
        while not self._head.exists():
            if self.over:
                return None
            time.sleep(0.5)
        return str(json.loads(self._head.read_text())["address"])


@contextmanager
def ray_node(arguments: list[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run this node's part of a Ray cluster while the block runs.

    Args:
        arguments: of `ray start`: `--head` with a port, or the address of the head.
        log: gets what Ray prints.
    """
    folder = tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-", dir=FOLDERS)
    own = [f"--temp-dir={folder}/r", "--include-dashboard=false"] if "--head" in arguments else []
    with log.open("ab") as output:
        process = subprocess.Popen(
            python("-m", "ray.scripts.scripts", "start", *arguments, *own, "--block",
                   f"--num-cpus={cores()}", f"--num-gpus={count_gpus()}",
                   f"--object-store-memory={OBJECT_STORE}", "--disable-usage-stats", *ANY_PORTS),
            stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
            start_new_session=True)  # what asks this task to leave is not for the trials in there
    try:
        yield process
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(ENDING_S)
        for group in {process.pid, *_groups_of(process.pid)}:
            kill_group(group)
        process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def _use_token(folder: Path) -> None:
    """Set what Ray reads, with the token of a submission: everybody who connects must know it.

    A file and not a variable, which could be seen where processes are listed with theirs.
    """
    os.environ.update({name: value for name, value in settings("").items()
                       if name != "RAY_AUTH_TOKEN"})
    os.environ["RAY_AUTH_TOKEN_PATH"] = str(folder / "token")


def _groups_of(session: int) -> set[int]:
    """Return the process groups of a session that this process started."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:  # ended meanwhile
            continue
        if int(fields[3]) == session:
            found.add(int(fields[2]))
    return found


def kill_group(group: int) -> None:
    """End a process group, if it is still there."""
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        return


@contextmanager
def ray_over_nodes(folder: Path, nodes: int) -> Iterator[None]:
    """Start the head here, wait for the other nodes, and connect; end it all with the block.

    Args:
        folder: of the submission.
        nodes: of the job.

    Raises:
        RuntimeError: the head did not come up, with what Ray said.
    """
    _use_token(folder)
    import ray  # reads the variables when it is imported

    meeting = Rendezvous(folder)
    with ExitStack() as kept:
        meeting.open(_start_head(kept, _log(folder)))
        kept.callback(ray.shutdown)
        kept.callback(meeting.close)  # first, so that the other nodes do not take it for a fault
        deadline = time.monotonic() + PATIENCE_S
        while len([node for node in ray.nodes() if node["Alive"]]) < nodes:
            if time.monotonic() > deadline:
                print(f"not all {nodes} nodes came within {PATIENCE_S:.0f} s: the search "
                      "begins without them", flush=True)
                break
            time.sleep(0.5)
        yield


def _log(folder: Path) -> Path:
    """Return where this task keeps what its Ray prints."""
    return folder / f"ray-{restart_of_process()}-{os.environ['SLURM_PROCID']}.log"


def _start_head(kept: ExitStack, log: Path) -> str:
    """Start the head and connect to it; returns its address. `kept` ends it."""
    import ray

    for start in range(STARTS):
        port = free_port_from(job_port(os.environ) + start)
        address = f"{ray.util.get_node_ip_address()}:{port}"
        with ExitStack() as attempt:
            head = attempt.enter_context(ray_node(head_arguments(port), log))
            if takes_connections(address, head) and _connected(address):
                kept.push(attempt.pop_all())
                return address
        print(f"the head of Ray did not come up at {address}", flush=True)
    said = log.read_text(errors="replace").splitlines()[-20:]
    raise RuntimeError("\n".join([f"the head of Ray did not come up in {STARTS} starts; it said:",
                                  *said]))


def head_arguments(port: int) -> list[str]:
    """Return the arguments of `ray start` for a head on a port.

    Its server for Ray's clients cannot be left out; at Ray's own 10001 there may be another's.
    """
    return ["--head", f"--port={port}", f"--ray-client-server-port={free_port_from(port + 1)}"]


def _connected(address: str) -> bool:
    """Whether this process could connect to the head as the driver."""
    import ray

    try:
        ray.init(address=address, log_to_driver=False, logging_level=40)
    except Exception as error:  # Ray raises it bare where it waits in vain
        print(f"could not connect to Ray at {address}: {error}", flush=True)
        ray.shutdown()
        return False
    return True


def takes_connections(address: str, head: subprocess.Popen[bytes]) -> bool:
    """Wait until the head takes connections; False if it has ended, or does not in three minutes.
    """
    host, _, port = address.rpartition(":")
    deadline = time.monotonic() + PATIENCE_S
    while head.poll() is None and time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex((host, int(port))) == 0:
                return True
        time.sleep(0.2)
    return False


def serve(folder: Path) -> int:
    """Lend this node to the search until it is over; returns the exit code."""
    for number in (signal.SIGUSR2, signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)  # the first task says when the trials have saved
    _use_token(folder)
    meeting = Rendezvous(folder)
    address = meeting.address()
    if address is None:
        return 0
    for _ in range(STARTS):
        with ray_node([f"--address={address}"], _log(folder)) as node:
            while not meeting.over and node.poll() is None:
                time.sleep(1.0)
        if meeting.over:
            break
        print(f"Ray on this node ended with {node.returncode}: see {_log(folder)}", flush=True)
    while not meeting.over:  # a task that ends early would end the others, which can go on
        time.sleep(1.0)
    return 0
