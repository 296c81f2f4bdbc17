"""Run the scripts of `launch/` as their users do, in this process where that is the same.

Importing torch and the rest anew takes seconds of processor a command, and a command and its jobs
are two to four processes. So `launch` runs a script here, with its own arguments, environment,
output and exit code, and jobs of the local queue one after another in this process too. What is
about processes (kills, signals, ranks, what a fresh interpreter reads or imports) uses
`launch_process`, or the fixture `start`. Reports made here have no figures, which take longer than
all the rest: tests of figures make reports of a simulated study.
"""

import contextlib
import gc
import io
import os
import pickle
import runpy
import signal
import subprocess
import sys
import traceback
import warnings
from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from warm_python import interpreter

from fer.cluster import local_job

REPOSITORY = Path(__file__).resolve().parents[1]
ALONE = {"tune", "board"}
"""Scripts that start Ray, or serve: always processes of their own."""
READ_AT_START = {"COLUMNS", "PYTHONPATH"}
"""Variables that an interpreter or a library reads once."""
HIDDEN_WARNINGS = (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning)
"""Warnings that an interpreter does not print, but for deprecations in `__main__`."""
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR2, signal.SIGCONT)

_numbers = count(1)


def script_path(script: str) -> Path:
    """Return the file of a script of `launch/`."""
    return REPOSITORY / "launch" / f"{script}.py"


def command_line(script: str, *arguments: object) -> list[str]:
    """Return the command that runs a script of `launch/`."""
    python = sys.executable if script in ALONE else interpreter()
    return [python, str(script_path(script)), *map(str, arguments)]


def launch_process(script: str, *arguments: object, timeout: float = 300, **env: str
                   ) -> subprocess.CompletedProcess[str]:
    """Run a script of `launch/` as a process and return what it printed."""
    return subprocess.run(command_line(script, *arguments), capture_output=True, text=True,
                          timeout=timeout, env={**os.environ, **env}, cwd=REPOSITORY)


def launch(script: str, *arguments: object, timeout: float = 300, **env: str
           ) -> subprocess.CompletedProcess[str]:
    """Run a script of `launch/` and return what it printed.

    In this process, unless it is one of `ALONE` or is given variables of `READ_AT_START`.
    """
    if script in ALONE or env.keys() & READ_AT_START:
        return launch_process(script, *arguments, timeout=timeout, **env)
    command = [str(script_path(script)), *map(str, arguments)]
    out, err = io.StringIO(), io.StringIO()
    with (contextlib.redirect_stdout(out), contextlib.redirect_stderr(err),
          own_process_state(command, env), jobs_in_this_process(), reports_without_figures()):
        code = _exit_code(command[0])
    return subprocess.CompletedProcess(command, code, out.getvalue(), err.getvalue())


def _exit_code(path: str) -> int:
    """Run a script as `python PATH` does and return what that would end with."""
    try:
        runpy.run_path(path, run_name="__main__")
    except SystemExit as end:
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
            return 1
        return end.code or 0
    except Exception:
        traceback.print_exc()
        return 1
    return 0


@contextlib.contextmanager
def own_process_state(command: Sequence[str], env: Mapping[str, str]) -> Iterator[None]:
    """Give a block what a process has for itself, and take back what it changed of that."""
    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    before, collecting, folder = dict(os.environ), gc.isenabled(), Path.cwd()
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.resetwarnings()  # those of a fresh interpreter, not pytest's
        for category in HIDDEN_WARNINGS:
            warnings.simplefilter("ignore", category)
        warnings.filterwarnings("default", category=DeprecationWarning, module="__main__")
        warnings.showwarning = _print_warning
        patch.setattr(sys, "argv", list(command))
        patch.setattr(sys, "path", [str(Path(command[0]).parent), *sys.path])
        os.environ.update(env)
        os.chdir(REPOSITORY)
        try:
            yield
        finally:
            os.chdir(folder)
            os.environ.clear()
            os.environ.update(before)
            (gc.enable if collecting else gc.disable)()
            for number, handler in handlers.items():
                signal.signal(number, handler)


def _print_warning(message: Warning | str, category: type[Warning], filename: str, lineno: int,
                   file: object = None, line: str | None = None) -> None:
    print(warnings.formatwarning(message, category, filename, lineno, line), file=sys.stderr)


def job_in_this_process(folder: Path, tasks: Sequence[Mapping[str, Any]], ranks: int,
                        gpus: Sequence[int], port: int) -> Any:
    """Stand for `fer.cluster.local_job.start_job`: a job of one rank is done before it returns."""
    if ranks > 1:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "executable", interpreter())
            return local_job.start_job(folder, tasks, ranks, gpus, port)
    from fer.config.run import Data
    from fer.train.run_tasks import Task, work

    number = next(_numbers)
    local_job.make_private(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FER_START", f"local-{number}")
        work([Task(Path(task["folder"]), task["evaluate"], Data.model_validate(task["data"]))
              for task in tasks])
    result = folder / f"{number}_0_result.pkl"
    result.write_bytes(pickle.dumps(("success", None)))
    return SimpleNamespace(job_id=str(number), done=lambda: True, paths=SimpleNamespace(
        folder=folder, submitted_pickle=result, result_pickle=result, stdout=folder / "none"))


@contextlib.contextmanager
def jobs_in_this_process() -> Iterator[None]:
    """Have the local queue carry its jobs out in this process, those of one rank."""
    from fer.cluster import local_queue as local

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(local, "start_job", job_in_this_process)
        yield


@contextlib.contextmanager
def reports_without_figures() -> Iterator[None]:
    """Leave the figures of reports out."""
    from fer.report import build_report as build

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build, "_figures", lambda *_: {})
        yield
