"""What a process that `warm_server.py` forked does to be the one that was asked for."""

import atexit
import builtins
import fcntl
import importlib
import importlib.machinery
import multiprocessing.spawn
import os
import resource
import runpy
import signal
import sys
import threading
import time
import traceback
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch


def become(request: dict[str, Any], executable: str) -> None:
    """Be the process of a request, to its end."""
    code = 1
    try:
        _inherit(request)
        _set_up_interpreter(request, executable)
        code = _run(request)
    except BaseException:
        traceback.print_exc()
    os._exit(_finish(code))


def _inherit(request: dict[str, Any]) -> None:
    """Take over what a process has from who started it."""
    os.setsid()
    high = {number: fcntl.fcntl(received, fcntl.F_DUPFD_CLOEXEC, 400)
            for number, received in request["files"].items()}
    for received in request["files"].values():
        os.close(received)
    for number, source in high.items():
        os.dup2(source, number, inheritable=True)
        os.close(source)
    os.umask(request["umask"])
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    time.tzset()
    os.sched_setaffinity(0, request["cores"])
    os.nice(request["nice"] - os.nice(0))
    for limit, soft, hard in request["limits"]:
        resource.setrlimit(limit, (soft, hard))
    for number in request["ignored"]:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, request["blocked"])


def _set_up_interpreter(request: dict[str, Any], executable: str) -> None:
    """Have modules be as in an interpreter that has just started with this environment."""
    environment = request["environment"]
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        stream = None
        with suppress(OSError):
            stream = open(  # noqa: SIM115
                number, mode, encoding="utf-8", closefd=False,
                errors="backslashreplace" if number == 2 else None)
            stream.reconfigure(line_buffering=number == 2 or stream.isatty(),
                               write_through=number > 0 and request["u"])
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
    sys.executable = executable
    multiprocessing.spawn.set_executable(executable)
    sys.dont_write_bytecode = request["B"] or bool(environment.get("PYTHONDONTWRITEBYTECODE"))
    path = environment.get("PYTHONPATH", "")
    entries = [os.path.abspath(entry) for entry in path.split(os.pathsep)] if path else []
    safe = request["P"] or environment.get("PYTHONSAFEPATH")
    if request["kind"] != "file":
        first = {"-m": os.getcwd(), "-c": ""}[request["kind"]]
    else:
        first = str(Path(request["what"]).resolve().parent)
    sys.path[:] = [*([] if safe else [first]), *entries, *sys.path]
    sys.path_importer_cache.clear()
    if entries:
        sys.modules.pop("sitecustomize", None)
        with suppress(ImportError):
            importlib.import_module("sitecustomize")
    np.random.seed()
    torch.set_num_threads(int(environment.get("OMP_NUM_THREADS") or len(request["cores"])))


def _run(request: dict[str, Any]) -> int:
    """Run what was asked for; returns the exit code."""
    module = ModuleType("__main__")
    module.__builtins__ = builtins  # type: ignore[attr-defined]
    sys.modules["__main__"] = module
    sys.argv = [{"-c": "-c", "-m": "-m"}.get(request["kind"], request["what"]), *request["rest"]]
    sys.orig_argv = [sys.executable, *(() if request["kind"] == "file" else (request["kind"],)),
                     request["what"], *request["rest"]]
    try:
        if request["kind"] == "-m":
            runpy._run_module_as_main(request["what"])  # type: ignore[attr-defined]
        elif request["kind"] == "-c":
            exec(compile(request["what"], "<string>", "exec"), module.__dict__)
        else:
            module.__file__ = request["what"]
            module.__loader__ = importlib.machinery.SourceFileLoader(
                "__main__", request["what"])
            exec(compile(Path(request["what"]).read_bytes(), request["what"], "exec"),
                 module.__dict__)
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            return (end.code or 0) & 0xFF
        print(end.code, file=sys.stderr)
        return 1
    except BaseException as error:
        assert error.__traceback__ is not None
        inside = error.with_traceback(error.__traceback__.tb_next)  # without this file
        sys.excepthook(type(error), inside, inside.__traceback__)
        return -signal.SIGINT if isinstance(error, KeyboardInterrupt) else 1
    return 0


def _finish(code: int) -> int:
    """Do what an interpreter does at its end; returns the exit code."""
    with suppress(BaseException):
        threading._shutdown()  # type: ignore[attr-defined]
    with suppress(BaseException):
        atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None and not stream.closed:
                stream.flush()
        except OSError:
            code = 120
    if code < 0:
        signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    return code
