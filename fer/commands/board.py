"""TensorBoard of a study, on loopback, with the line that makes a tunnel to a login node."""

import getpass
import os
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fer.cluster.local_queue import free_port
from fer.errors import CallerError
from fer.safe_path import python

USUAL_PORT = 6006
PATIENCE_S = 60.0


def start(folder: Path, port: int = 0) -> tuple[subprocess.Popen[bytes], int]:
    """Start TensorBoard over the runs of a study and return its process and port.

    Args:
        folder: of the study, with its `tb/`.
        port: on loopback; 0 takes the usual one, or any where that is taken.

    Raises:
        CallerError: the port is taken.
    """
    if port and not _free(port):
        raise CallerError(f"--port {port}: taken; leave it out for a free one")
    chosen = port or (USUAL_PORT if _free(USUAL_PORT) else free_port())
    (folder / "tb").mkdir(parents=True, exist_ok=True)
    process = subprocess.Popen(
        python("-m", "tensorboard.main", "--logdir", str(folder / "tb"), "--host", "127.0.0.1",
               "--port", str(chosen)),
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return process, chosen


def lines(port: int) -> list[str]:
    """Return where it is, and how to see it from a computer that reaches this one by ssh."""
    text = [f"TensorBoard: http://127.0.0.1:{port}/"]
    if os.environ.get("SSH_CONNECTION"):
        user, host = getpass.getuser(), socket.getfqdn()
        text.append(f"from your own computer: ssh -N -L {port}:127.0.0.1:{port} {user}@{host}")
    return text


def wait_until_it_answers(process: subprocess.Popen[bytes], port: int) -> None:
    """Return when the page can be opened.

    Raises:
        CallerError: it ended, or does not answer.
    """
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=2).close()
            return
        except OSError:
            time.sleep(0.2)
    process.kill()
    raise CallerError(f"TensorBoard does not answer at port {port}")


def serve(folder: Path, port: int) -> None:
    """Serve until it is interrupted or ended."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    process, chosen = start(folder, port)
    try:
        wait_until_it_answers(process, chosen)
        print("\n".join(lines(chosen)), flush=True)
        process.wait()
    finally:
        _end(process)


@contextmanager
def beside(folder: Path, wanted: bool) -> Iterator[None]:
    """Serve while the block runs, if wanted."""
    if not wanted:
        yield
        return
    process, port = start(folder)
    print("\n".join(lines(port)), flush=True)
    try:
        yield
    finally:
        _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(timeout=10)
    except subprocess.TimeoutExpired:
        process.kill()


def _free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
