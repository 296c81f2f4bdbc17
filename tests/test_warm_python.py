"""The Python of tests that has imported torch already does what a real one does."""

import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
import warm_python

HERE = Path(__file__).parent


@pytest.fixture
def warm() -> str:
    """The executable."""
    executable = warm_python.interpreter()
    assert executable != sys.executable
    return executable


def output(executable: str, *arguments: str, **more: object) -> tuple[int, str, str]:
    """Return exit code and output of a process."""
    done = subprocess.run([executable, *arguments], capture_output=True, text=True, **more)  # type: ignore[call-overload]
    return done.returncode, done.stdout, done.stderr


MINE = """
import json, os, resource, signal, sys
mask = os.umask(0)
print(json.dumps([
    sys.argv, os.getcwd(), mask, sys.path, dict(os.environ), resource.getrlimit(resource.RLIMIT_AS),
    sorted(os.sched_getaffinity(0)), os.nice(0), sorted(signal.pthread_sigmask(0, ())),
    [number for number in range(1, 32) if signal.getsignal(number) is signal.SIG_IGN],
    sys.stdin.read(), sorted(map(int, os.listdir('/proc/self/fd')))[:3], __name__,
    sys.dont_write_bytecode, sys.stdout.encoding, sys.stdout.write_through]))
"""


@pytest.mark.parametrize("how", ["-c", "file", "-m", "-u -P -B"])
def test_a_process_inherits_what_a_real_one_does(how: str, warm: str, tmp_path: Path) -> None:
    script = tmp_path / "its script.py"
    script.write_text(MINE)
    (tmp_path / "mine.py").write_text(MINE)
    arguments = {"-c": ["-c", MINE], "file": [str(script)], "-m": ["-m", "mine"],
                 "-u -P -B": ["-u", "-P", "-B", str(script)]}[how]
    if how == "-u -P -B" and sys.version_info < (3, 11):
        arguments.remove("-P")

    def limits() -> None:
        import resource

        os.umask(0o027)
        os.nice(3)
        resource.setrlimit(resource.RLIMIT_AS, (2**45, 2**46))
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])

    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}:{HERE / 'inject'}", "MORE": "é 1"}
    found = [output(executable, *arguments, "a b", "-c", input="typed", preexec_fn=limits,
                    cwd=tmp_path, env=environment) for executable in (sys.executable, warm)]
    assert found[1][0] == 0, found[1]
    real, imitated = (json.loads(out) for _, out, _ in found)
    assert imitated == real


@pytest.mark.parametrize("code", [
    "import sys; sys.exit(3)", "import sys; sys.exit('said')", "import sys; sys.exit()", "1/0",
    "print('no end', end='')", "import os; os.kill(os.getpid(), 9)", "raise KeyboardInterrupt",
    "import os; os._exit(7)", "import atexit; atexit.register(print, 'late'); print('early')",
    "import signal, os; os.kill(os.getpid(), signal.SIGTERM)", "import sys; sys.exit(-1)",
    "import threading, time; threading.Thread(target=lambda: (time.sleep(0.2), print(1))).start()",
    "import os; os.close(1)", "import sys; sys.stdout.write('x'); sys.stdout.close()"])
def test_a_process_ends_as_a_real_one_does(code: str, warm: str) -> None:
    assert output(warm, "-c", code) == output(sys.executable, "-c", code)


@pytest.mark.parametrize("arguments", [["-V"], ["-I", "-c", "import sys; print(sys.flags)"],
                                       ["-X", "dev", "-c", "import sys; print(sys.flags)"]])
def test_what_is_not_imitated_is_left_to_the_real_one(arguments: list[str], warm: str) -> None:
    assert output(warm, *arguments) == output(sys.executable, *arguments)


def test_torch_is_there_and_nothing_of_this_project_is(warm: str) -> None:
    code, out, _ = output(warm, "-c", "import sys; print('torch._dynamo' in sys.modules, "
                                      "[name for name in sys.modules if name[:3] == 'fer'])")
    assert (code, out) == (0, "True []\n")


def test_libraries_use_the_threads_of_its_environment(warm: str) -> None:
    code = "import torch; print(torch.get_num_threads())"
    for threads in "13":
        assert output(warm, "-c", code, env={**os.environ, "OMP_NUM_THREADS": threads}
                      )[1] == f"{threads}\n"


def test_random_numbers_differ_from_process_to_process(warm: str) -> None:
    code = "import random, numpy, tempfile; print(random.random(), numpy.random.rand(), " \
           "tempfile.mktemp())"
    first, second = (output(warm, "-c", code)[1].split() for _ in range(2))
    assert all(one != other for one, other in zip(first, second, strict=True))


def test_faults_of_jobs_are_put_into_it(warm: str) -> None:
    code, _, error = output(warm, "-c", "import fcntl; fcntl.flock(0, 2)", env={
        **os.environ, "PYTHONPATH": str(HERE / "inject"), "FER_INJECT": "unlocked:all"})
    assert code == 1 and "No locks available" in error


WAITING = """
import os, signal, time
def said(number, frame):
    os.write(1, b"%d\\n" % number)  # print is not to be interrupted by itself
    if number == signal.SIGTERM:
        os._exit(5)
for number in (signal.SIGUSR2, signal.SIGHUP, signal.SIGCONT, signal.SIGTERM, signal.SIGINT):
    signal.signal(number, said)
print(os.getpid(), flush=True)
while True:
    time.sleep(0.01)
"""


@pytest.fixture
def waiting(warm: str) -> subprocess.Popen[str]:
    """A process that prints its id, and the signals that it gets."""
    return subprocess.Popen([warm, "-c", WAITING], stdout=subprocess.PIPE, text=True)


def said(process: subprocess.Popen[str]) -> int:
    """Return the next number that a process prints."""
    assert process.stdout is not None
    return int(process.stdout.readline())


def test_signals_are_forwarded(waiting: subprocess.Popen[str]) -> None:
    said(waiting)
    for number in (signal.SIGUSR2, signal.SIGHUP, signal.SIGCONT, signal.SIGINT, signal.SIGTERM):
        waiting.send_signal(number)
        assert said(waiting) == number
    assert waiting.wait(60) == 5


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_killed_client_takes_its_process_along(waiting: subprocess.Popen[str]) -> None:
    child = said(waiting)
    waiting.kill()
    assert waiting.wait() == -signal.SIGKILL
    until(lambda: not psutil.pid_exists(child))


def test_a_killed_process_is_the_end_of_its_client(waiting: subprocess.Popen[str]) -> None:
    os.kill(said(waiting), signal.SIGKILL)
    assert waiting.wait(60) == -signal.SIGKILL


def test_a_lock_is_held_as_long_as_the_process_that_inherited_it(
    warm: str, tmp_path: Path
) -> None:
    with open(tmp_path / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        process = subprocess.Popen([warm, "-c", "input()"], stdin=subprocess.PIPE,
                                   pass_fds=[lock.fileno()])
    with open(tmp_path / "lock") as again:
        with pytest.raises(BlockingIOError):
            fcntl.flock(again, fcntl.LOCK_EX | fcntl.LOCK_NB)
        process.communicate(b"\n")
        fcntl.flock(again, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_processes_of_multiprocessing_start(warm: str, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text("import multiprocessing\ndef double(x): return 2 * x\n"
                      "if __name__ == '__main__':\n"
                      "    with multiprocessing.get_context('spawn').Pool(2) as pool:\n"
                      "        print(pool.map(double, [1, 2, 3]))\n")
    assert output(warm, str(script)) == (0, "[2, 4, 6]\n", "")


LIGHT = ("colorsys",)  # imported by servers of these tests, at once
IMPORTED = "import sys; print('colorsys' in sys.modules)"


def test_without_a_server_it_is_a_real_one_and_a_server_ends_with_its_last_user(
    home: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with warm_python.served(home, LIGHT) as first, warm_python.served(home, LIGHT) as second:
        assert first == second
        assert output(str(first), "-c", IMPORTED)[1] == "True\n"
        text = first.read_text()
    until(lambda: not home.exists())
    left = tmp_path_factory.mktemp("left") / "python"
    left.write_text(text)
    left.chmod(0o755)
    assert output(str(left), "-c", IMPORTED)[1] == "False\n"


@pytest.fixture
def home() -> Iterator[Path]:
    """A folder for a server, with a short path."""
    folder = Path(tempfile.mkdtemp(prefix="fer-warm-test-", dir="/tmp"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.parametrize("asked", [b"", b"\0\0\0", (9).to_bytes(8, "big") + b"part"])
def test_a_client_killed_while_it_asks_does_not_end_the_server(home: Path, asked: bytes) -> None:
    with warm_python.served(home, LIGHT) as python:
        for _ in range(20):
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(str(home / "socket"))
                client.sendall(asked)
        assert output(str(python), "-c", IMPORTED) == (0, "True\n", "")


def test_a_server_that_was_killed_is_replaced(home: Path) -> None:
    with warm_python.served(home, LIGHT):
        server = next(process for process in psutil.process_iter(["cmdline"])
                      if str(home) in (process.info["cmdline"] or ()))
        server.kill()
        server.wait()
        assert (home / "socket").exists()
    with warm_python.served(home, LIGHT) as python:
        assert output(str(python), "-c", "print(1)") == (0, "1\n", "")


@pytest.mark.real_python
def test_a_test_can_have_a_real_one() -> None:
    assert warm_python.interpreter() == sys.executable
