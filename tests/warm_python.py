"""A Python for tests that has imported torch already: a server that forks a process a request.

`import torch` takes four seconds of processor, and `torch._dynamo`, which the first optimizer
imports, another three. Jobs, ranks and commands of tests are hundreds of processes, each of which
would pay. `interpreter()` is the path of an executable that looks like a Python and has a server
fork instead: `warm_client.py` asks, `warm_server.py` forks, `warm_process.py` is what runs then.
The server has imported libraries, but nothing of `fer`. One serves all workers of a session.

What differs from a real process: it is no child of who started it; its session, and its command
and environment in the process table, are not those of the client; it has imported before its
limits came. Tests of such things, and one of each main path, are marked `real_python`, or use
`sys.executable`.
"""

import fcntl
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

HERE = Path(__file__).resolve().parent
SERVER_ENVIRONMENT = {"OMP_NUM_THREADS": "1",
                      "JE_ARROW_MALLOC_CONF": "background_thread:false"}  # no threads to fork
START_S = 300.0

_kept = ExitStack()
_state: dict[str, str] = {}


def use_real(real: bool) -> None:
    """Have `interpreter` return the real Python, or no more."""
    _state["real"] = "yes" if real else ""


def interpreter() -> str:
    """Return the Python for processes of the test that runs; with FER_REAL_PYTHON a real one."""
    if _state.get("real") or os.environ.get("FER_REAL_PYTHON"):
        return sys.executable
    if "warm" in _state and not _answers(Path(_state["warm"]).parent):
        _kept.close()  # somebody killed it
        del _state["warm"]
    if "warm" not in _state:
        session = os.environ.get("PYTEST_XDIST_TESTRUNUID", f"of-{os.getpid()}")
        home = Path(tempfile.gettempdir()) / f"fer-warm-{session}"
        _state["warm"] = str(_kept.enter_context(served(home)))
    return _state["warm"]


def leave() -> None:
    """Need the server no longer."""
    _kept.close()
    _state.clear()


@contextmanager
def served(home: Path, imports: Sequence[str] = ()) -> Iterator[Path]:
    """Yield the executable of a server that lives as long as somebody is in such a block.

    Args:
        home: where its users meet; its path is short, for the socket.
        imports: modules that it imports; default: the libraries that tests use.
    """
    with _locked(home):
        if (connection := _connect(home)) is None:
            connection = _start(home, imports)
    with connection:
        yield home / "python"


@contextmanager
def _locked(home: Path) -> Iterator[None]:
    """Lock a folder that the server may be about to remove."""
    while True:
        home.mkdir(mode=0o700, exist_ok=True)
        with suppress(FileNotFoundError), open(home / "lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if os.path.samestat(os.fstat(lock.fileno()), os.stat(home / "lock")):
                yield
                return


def _start(home: Path, imports: Sequence[str]) -> socket.socket:
    """Start the server and return a connection to it."""
    executable = home / "python"
    executable.write_text(  # a shell would change the environment
        f"#!{Path(sys.executable).resolve()} -IS\nimport sys\n"
        f"sys.path.append({str(HERE)!r})\nfrom warm_client import main\n"
        f"main({str(home / 'socket')!r}, {sys.executable!r}, sys.argv[1:])\n")
    executable.chmod(0o755)
    environment = {name: value for name, value in os.environ.items()
                   if not name.startswith(("PYTHON", "FER_"))}
    (home / "socket").unlink(missing_ok=True)  # of a server that was killed
    with open(home / "log", "a") as log:
        process = subprocess.Popen(
            [sys.executable, str(HERE / "warm_server.py"), str(home), *imports],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, cwd="/",
            env={**environment, **SERVER_ENVIRONMENT})
    deadline = time.monotonic() + START_S
    while (connection := _connect(home)) is None:
        assert process.poll() is None and time.monotonic() < deadline, (home / "log").read_text()
        time.sleep(0.05)
    return connection


def _answers(home: Path) -> bool:
    """Return whether a server is there."""
    if connection := _connect(home):
        connection.close()
    return connection is not None


def _connect(home: Path) -> socket.socket | None:
    """Return a connection that keeps a server alive; None if there is no server."""
    connection = socket.socket(socket.AF_UNIX)
    with suppress(OSError):
        connection.connect(str(home / "socket"))
        connection.sendall((0).to_bytes(8, "big"))
        if connection.recv(1):
            return connection
    connection.close()
    return None
