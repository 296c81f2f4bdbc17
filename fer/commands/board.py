"""TensorBoard for a study, on loopback, with the ssh command for a tunnel to a login node."""

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
from fer.machine import user_name
from fer.safe_path import python

USUAL_PORT = 6006
PATIENCE_S = 60.0


def start(folder: Path, port: int = 0) -> tuple[subprocess.Popen[bytes], int]:
    """Start TensorBoard over the runs of a study and return its process and port.

    Args:
        folder: study folder, with its `tb/`.
        port: loopback port; 0 takes the usual port, or any free one if it is in use.

    Raises:
        CallerError: the port is in use.
    """
    if port and not _free(port):
        raise CallerError(f"--port {port}: already in use; omit it to use a free one")
    chosen = port or (USUAL_PORT if _free(USUAL_PORT) else free_port())
    (folder / "tb").mkdir(parents=True, exist_ok=True)
    process = subprocess.Popen(
        python("-m", "tensorboard.main", "--logdir", str(folder / "tb"), "--host", "127.0.0.1",
               "--port", str(chosen)),
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return process, chosen


def lines(port: int) -> list[str]:
    """Return the URL and, in an ssh session, the command for a tunnel to it."""
    text = [f"TensorBoard: http://127.0.0.1:{port}/"]
    tunnel = tunnel_command(port)
    return [*text, f"from your own computer: {tunnel}"] if tunnel else text


def tunnel_command(port: int) -> str:
    """Return the ssh command for a tunnel to a port of this machine; empty outside ssh sessions."""
    if not os.environ.get("SSH_CONNECTION"):
        return ""
    return f"ssh -N -L {port}:127.0.0.1:{port} {user_name()}@{socket.getfqdn()}"


def wait_until_it_answers(process: subprocess.Popen[bytes], port: int) -> None:
    """Wait until the page can be opened.

    Raises:
        CallerError: the process ended or does not respond.
    """
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=2).close()
            return
        except OSError:
            time.sleep(0.2)
    process.kill()
    raise CallerError(f"TensorBoard does not respond on port {port}")


def serve(folder: Path, port: int) -> None:
    """Serve until TensorBoard ends or the command is interrupted."""
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
    """Serve while the block runs, if `wanted`."""
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
