"""Server of `warm_python.py`: imports libraries once and forks a process for each client.

    python warm_server.py FOLDER [MODULE ...]

It ends when nobody keeps it.
"""

import fcntl
import gc
import importlib
import marshal
import os
import selectors
import shutil
import signal
import socket
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

IMPORTED = (
    "accelerate", "matplotlib.figure", "numpy", "pandas", "PIL.Image", "pyarrow.parquet",
    "pydantic", "rich.live", "rich.table", "safetensors.torch", "scipy.stats", "sklearn.metrics",
    "submitit", "tensorboard.summary", "torch", "torch._dynamo", "torch.utils.tensorboard",
    "torchvision", "typer", "yaml")


@dataclass
class Server:
    """Forks processes for clients.

    Attributes:
        keepers: connections that keep it alive.
        children: process id -> connection of its client, and whether it is of a SLURM job.
    """

    listener: socket.socket
    keepers: set[socket.socket] = field(default_factory=set)
    children: dict[int, tuple[socket.socket, bool]] = field(default_factory=dict)
    selector: selectors.BaseSelector = field(default_factory=selectors.DefaultSelector)

    def serve(self, timeout: float | None = None) -> dict[str, Any] | None:
        """Serve until nobody keeps it or nothing happens; in a forked process return its request.
        """
        if not self.selector.get_map():
            self.selector.register(self.listener, selectors.EVENT_READ, self.accept)
        while events := self.selector.select(timeout):
            for key, _ in events:
                request: dict[str, Any] | None = key.data(key.fileobj)
                if request is not None:
                    return request
            if not self.keepers and not timeout:
                break
        return None

    def accept(self, listener: socket.socket) -> dict[str, Any] | None:
        """Take a connection: a keeper's, or a client's, for which it forks."""
        connection, _ = listener.accept()
        try:
            message, files = receive(connection)
            if not message:
                connection.sendall(b"k")
        except OSError:  # whoever asked was killed meanwhile
            connection.close()
            return None
        if not message:
            self.keepers.add(connection)
            self.selector.register(connection, selectors.EVENT_READ, self.left)
            return None
        request: dict[str, Any] = marshal.loads(message)
        child = os.fork()
        if child == 0:
            self.forget_all()
            connection.close()
            return {**request, "files": dict(zip(request["files"], files, strict=True))}
        for number in files:
            os.close(number)
        self.children[child] = connection, "SLURM_JOB_ID" in request["environment"]
        ended = os.pidfd_open(child)
        self.selector.register(connection, selectors.EVENT_READ, lambda _: self.abandoned(child))
        self.selector.register(ended, selectors.EVENT_READ, lambda _: self.ended(child, ended))
        with suppress(OSError):
            connection.sendall(child.to_bytes(8, "big"))
        return None

    def forget_all(self) -> None:
        """Close what a forked process must not hold open."""
        for key in list(self.selector.get_map().values()):
            if isinstance(key.fileobj, int):
                os.close(key.fileobj)
            else:
                key.fileobj.close()  # type: ignore[attr-defined]
        self.selector.close()

    def left(self, keeper: socket.socket) -> None:
        """Forget a keeper."""
        self.selector.unregister(keeper)
        self.keepers.discard(keeper)
        keeper.close()

    def abandoned(self, child: int) -> None:
        """Kill the child of a client that was killed; of a SLURM job, what it started, too."""
        if child not in self.children:  # it has just ended
            return
        connection, of_slurm = self.children[child]
        self.selector.unregister(connection)
        with suppress(psutil.Error):
            process = psutil.Process(child)
            for one in [*(process.children(recursive=True) if of_slurm else ()), process]:
                with suppress(psutil.Error):
                    one.kill()

    def ended(self, child: int, descriptor: int) -> None:
        """Tell a client how its child has ended."""
        _, status = os.waitpid(child, 0)
        connection, _ = self.children.pop(child)
        self.selector.unregister(descriptor)
        os.close(descriptor)
        with suppress(KeyError):
            self.selector.unregister(connection)
        with suppress(OSError):
            connection.sendall(status.to_bytes(8, "big"))
        connection.close()


def receive(connection: socket.socket) -> tuple[bytes, list[int]]:
    """Return what a client asks for, and its open files; nothing for a keeper.

    Raises:
        OSError: the client ended, or stopped, before it had asked.
    """
    connection.settimeout(30)
    head, files, _, _ = socket.recv_fds(connection, 8, 250)
    try:
        if len(head) < 8:
            raise ConnectionError
        size, message = int.from_bytes(head, "big"), b""
        while len(message) < size:
            part = connection.recv(size - len(message))
            if not part:
                raise ConnectionError
            message += part
    except OSError:
        for number in files:
            os.close(number)
        raise
    connection.settimeout(None)
    return message, files


def main(home: Path, imports: Sequence[str]) -> None:
    """Import, and serve; in a forked process, be what was asked for."""
    for name in imports or IMPORTED:
        importlib.import_module(name)
    from warm_process import become

    sys.path[:] = [entry for entry in sys.path if Path(entry) != Path(__file__).parent]
    assert not [name for name in sys.modules if name.partition(".")[0] == "fer"]
    assert len(os.listdir("/proc/self/task")) == 1, "a thread would be missing in a fork"
    gc.collect()
    gc.freeze()  # a collection does not touch, and so copy, the pages of what is there
    request, done = None, False
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(home / "socket"))
        listener.listen(100)
        server = Server(listener)
        while request is None and not done:
            request = server.serve()
            if request is None:
                with open(home / "lock") as lock:  # nobody is about to keep it
                    fcntl.flock(lock, fcntl.LOCK_EX)
                    request = server.serve(timeout=0.01)
                    done = request is None and not server.keepers
                    if done:
                        shutil.rmtree(home)
    if request is not None:
        become(request, str(home / "python"))
    for child in server.children:
        os.kill(child, signal.SIGKILL)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
