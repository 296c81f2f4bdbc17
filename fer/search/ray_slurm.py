"""One Ray cluster over the nodes of a SLURM job: a head on the first, workers on the others.

Each node's Ray is a child of the task there, uses a port and the resources of the job, and ends
with it. `ray stop` is not used, because it would end all Ray instances of the node.
"""

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
from fer.study.job_environment import restart_of_process
from fer.untrusted_io import parse_json

PATIENCE_S = 180.0
ENDING_S = 15.0
# Ray's default range for its workers, 10002-19999, overlaps two fifths of the ports of jobs
ANY_PORTS = ["--min-worker-port=0", "--max-worker-port=0"]
STARTS = 3  # Ray fails after 30 s on a busy node, or if its port was taken meanwhile


class Rendezvous:
    """Rendezvous of the tasks of one start of a job, through files in its folder."""

    def __init__(self, folder: Path) -> None:
        restart = restart_of_process()
        self._head, self._over = folder / f"head-{restart}.json", folder / f"over-{restart}"

    def open(self, address: str) -> None:
        """Publish the address of the head."""
        write_json(self._head, {"address": address})

    def close(self) -> None:
        """Signal that the search has ended or is exiting."""
        self._over.touch()

    @property
    def over(self) -> bool:
        """Whether the first task has signalled the end."""
        return self._over.exists()

    def address(self) -> str | None:
        """Wait for the head and return its address; None if the search ends first.

        There is no timeout: if the first task dies, SLURM ends this one.
        """
        while not self._head.exists():
            if self.over:
                return None
            time.sleep(0.5)
        return str(parse_json(self._head.read_text())["address"])


@contextmanager
def ray_node(arguments: list[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run this node's part of a Ray cluster while the block runs.

    Args:
        arguments: arguments of `ray start`: `--head` with a port, or the address of the head.
        log: file for Ray's output.
    """
    folder = tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-", dir=FOLDERS)
    own = [f"--temp-dir={folder}/r", "--include-dashboard=false"] if "--head" in arguments else []
    with log.open("ab") as output:
        process = subprocess.Popen(
            python("-m", "ray.scripts.scripts", "start", *arguments, *own, "--block",
                   f"--num-cpus={cores()}", f"--num-gpus={count_gpus()}",
                   f"--object-store-memory={OBJECT_STORE}", "--disable-usage-stats", *ANY_PORTS),
            stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
            start_new_session=True)  # the signals of this task must not reach the trials
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
    """Set Ray's environment variables, with the authentication token of a submission.

    The token is in a file, because variables may be visible in process listings.
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
    """Kill a process group, if it still exists."""
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        return


@contextmanager
def ray_over_nodes(folder: Path, nodes: int) -> Iterator[None]:
    """Start the head here, wait for the other nodes, and connect; end all with the block.

    Args:
        folder: folder of the submission.
        nodes: number of nodes of the job.

    Raises:
        RuntimeError: the head did not start; contains Ray's output.
    """
    _use_token(folder)
    import ray  # reads the variables on import

    meeting = Rendezvous(folder)
    with ExitStack() as kept:
        meeting.open(_start_head(kept, _log(folder)))
        kept.callback(ray.shutdown)
        kept.callback(meeting.close)  # runs first, so that the other nodes see no failure
        deadline = time.monotonic() + PATIENCE_S
        while len([node for node in ray.nodes() if node["Alive"]]) < nodes:
            if time.monotonic() > deadline:
                print(f"not all {nodes} nodes connected within {PATIENCE_S:.0f} s: the search "
                      "starts without them", flush=True)
                break
            time.sleep(0.5)
        yield


def _log(folder: Path) -> Path:
    """Return the log file of this task's Ray."""
    return folder / f"ray-{restart_of_process()}-{os.environ['SLURM_PROCID']}.log"


def _start_head(kept: ExitStack, log: Path) -> str:
    """Start the head, connect to it and return its address; `kept` ends it."""
    import ray

    for start in range(STARTS):
        port = free_port_from(job_port(os.environ) + start)
        address = f"{ray.util.get_node_ip_address()}:{port}"
        with ExitStack() as attempt:
            head = attempt.enter_context(ray_node(head_arguments(port), log))
            if takes_connections(address, head) and _connected(address):
                kept.push(attempt.pop_all())
                return address
        print(f"the Ray head did not start at {address}", flush=True)
    last = log.read_text(errors="replace").splitlines()[-20:]
    raise RuntimeError("\n".join([f"the Ray head did not start in {STARTS} attempts; its output:",
                                  *last]))


def head_arguments(port: int) -> list[str]:
    """Return the arguments of `ray start` for a head on a port.

    The client server cannot be disabled, and another one may use Ray's default port 10001.
    """
    return ["--head", f"--port={port}", f"--ray-client-server-port={free_port_from(port + 1)}"]


def _connected(address: str) -> bool:
    """Connect to the head as the driver; return whether that succeeded."""
    import ray

    try:
        ray.init(address=address, log_to_driver=False, logging_level=40)
    except Exception as error:  # Ray raises a bare Exception on a timeout
        print(f"could not connect to Ray at {address}: {error}", flush=True)
        ray.shutdown()
        return False
    return True


def takes_connections(address: str, head: subprocess.Popen[bytes]) -> bool:
    """Wait until the head accepts connections; return False if it ends or after three minutes."""
    host, _, port = address.rpartition(":")
    deadline = time.monotonic() + PATIENCE_S
    while head.poll() is None and time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex((host, int(port))) == 0:
                return True
        time.sleep(0.2)
    return False


def serve(folder: Path) -> int:
    """Provide this node to the search until it is over; return the exit code."""
    for number in (signal.SIGUSR2, signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)  # the first task signals when the trials have saved
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
    while not meeting.over:  # a task that ends early would end the others
        time.sleep(1.0)
    return 0
