"""Client of `warm_python.py`: stands for an interpreter, in a file that needs no imports.

It has the server fork a process that takes over its arguments, environment, folder, limits and
open files, forwards signals to it, and ends as it ends. What the server does not imitate is left
to the real interpreter.
"""

import _signal as signal
import _socket
import marshal
import os
import resource
import sys

NOT_IMITATED = {"submitit.local._local",  # its children are looked for in the process table
                "fer.search.ray_reaper"}  # asks who started it
IMITATED_VARIABLES = {"PYTHONPATH", "PYTHONUNBUFFERED", "PYTHONSAFEPATH",
                      "PYTHONDONTWRITEBYTECODE"}
FORWARDED = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGUSR1,
             signal.SIGUSR2, signal.SIGCONT)
LIMITS = tuple(getattr(resource, name) for name in dir(resource) if name.startswith("RLIMIT_"))
SERVER_ENDED = 70
CAN_PASS = 200  # of SCM_MAX_FD, 253


def parse(arguments: list[str]) -> dict[str, object] | None:
    """Return what the arguments of an interpreter say; None if they are not to be imitated."""
    flags = {"u": bool(os.environ.get("PYTHONUNBUFFERED")), "P": False, "B": False}
    others = {name for name in os.environ if name.startswith("PYTHON") and name[6:7].isalpha()}
    if others - IMITATED_VARIABLES:
        return None
    if NOT_IMITATED & set(arguments):
        return None
    for place, word in enumerate(arguments):
        rest = arguments[place + 1:]
        if word in ("-m", "-c") and rest:
            return {"kind": word, "what": rest[0], "rest": rest[1:], **flags}
        if not word.startswith("-"):
            return {"kind": "file", "what": word, "rest": rest, **flags}
        if word[1:] not in flags:
            return None
        flags[word[1:]] = True
    return None


def state() -> dict[str, object]:
    """Return what a process inherits, beside its open files."""
    mask = os.umask(0)
    os.umask(mask)
    return {
        "environment": dict(os.environ), "folder": os.getcwd(), "umask": mask,
        "limits": [(limit, *resource.getrlimit(limit)) for limit in LIMITS],
        "cores": list(os.sched_getaffinity(0)), "nice": os.nice(0),
        "blocked": [int(one) for one in signal.pthread_sigmask(signal.SIG_BLOCK, ())],
        "ignored": [number for number in FORWARDED
                    if signal.getsignal(number) == signal.SIG_IGN],
    }


def open_files() -> list[int]:
    """Return the numbers of the open files."""
    found = []
    for name in os.listdir("/proc/self/fd"):
        try:
            os.fstat(int(name))  # the listing's own is closed
            found.append(int(name))
        except OSError:
            pass
    return sorted(found)


def main(server: str, interpreter: str, arguments: list[str]) -> None:
    """Have a process forked by a server, wait for it, and end as it did."""
    request, files = parse(arguments), open_files()
    connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    try:
        if request is None or len(files) > CAN_PASS:
            raise OSError
        connection.connect(server)
    except OSError:
        connection.close()
        os.execv(interpreter, [interpreter, *arguments])
    message = marshal.dumps({**request, **state(), "files": files})
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, FORWARDED)
    numbers = b"".join(number.to_bytes(4, sys.byteorder) for number in files)
    connection.sendmsg([len(message).to_bytes(8, "big")],
                       [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, numbers)])
    connection.sendall(message)
    child = int.from_bytes(receive(connection, 8), "big")
    for number in files:  # whoever reads from or locks one looks at the child's only
        os.close(number)

    def forward(number: int, frame: object) -> None:
        if os.path.exists(f"/proc/{child}"):
            os.kill(child, number)

    for number in FORWARDED:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, forward)
    signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
    status = int.from_bytes(receive(connection, 8), "big")
    if not os.WIFSIGNALED(status):
        os._exit(os.WEXITSTATUS(status))
    ending = os.WTERMSIG(status)
    if ending != signal.SIGKILL:
        signal.signal(ending, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, (ending,))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.kill(os.getpid(), ending)


def receive(connection: "_socket.socket", size: int) -> bytes:
    """Return the next bytes of a connection; ends this process if there are none."""
    got = b""
    while len(got) < size:
        part = connection.recv(size - len(got))
        if not part:
            os._exit(SERVER_ENDED)
        got += part
    return got

