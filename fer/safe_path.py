"""Starter of Python without the current folder on `sys.path`, and with this file's own `fer`.

    python fer/safe_path.py (-m MODULE | -c CODE | SCRIPT) [ARGUMENT ...]

A `torch.py` in the current folder must not replace torch, nor another checkout's code run in a job.
Python 3.11 has `-P` for the former; this also works on 3.10. Every process of this project is
started through it, by `python()`. It imports nothing before the path is clean.
"""

import os  # already loaded by Python itself, as is sys
import sys

FILE = os.path.abspath(__file__)
HERE = os.path.dirname(FILE)
HAS_SAFE_PATH = sys.version_info >= (3, 11)
FOLDER = "FER_STARTED_IN"  # working folder of a process that had to be started elsewhere


def _clean_path() -> None:
    """Remove this file's folder from the path, and the current one (empty entry of PYTHONPATH)."""
    entries = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    named = [entry for entry in entries if entry]
    out = {os.path.realpath(HERE)}
    if len(named) < len(entries) and os.getcwd() not in map(os.path.abspath, named):
        out.add(os.path.realpath(os.getcwd()))
    sys.path[:] = [entry for entry in sys.path if os.path.realpath(entry) not in out]
    if named:
        os.environ["PYTHONPATH"] = os.pathsep.join(named)
    os.environ["PYTHONSAFEPATH"] = "1"  # for child processes


if __name__ == "__main__":
    _clean_path()

from collections.abc import Iterator  # noqa: E402
from contextlib import contextmanager  # noqa: E402


def python(*arguments: str) -> list[str]:
    """Return the command that runs `-m MODULE`, `-c CODE` or a script, with its arguments."""
    return [sys.executable, "-u", FILE, *arguments]


@contextmanager
def safe_children() -> Iterator[None]:
    """Keep the current folder off the path of processes that libraries start in the block."""
    name, value = ("PYTHONSAFEPATH", "1") if HAS_SAFE_PATH else (FOLDER, os.getcwd())
    before, folder = os.environ.get(name), os.getcwd()
    os.environ[name] = value
    if not HAS_SAFE_PATH:
        os.chdir("/")
    try:
        yield
    finally:
        if not HAS_SAFE_PATH:
            os.chdir(folder)
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


def _load_package() -> None:
    """Load `fer` from this file's folder, whatever is installed or on the path.

    The package then ensures that its modules are found here or not at all.
    """
    from importlib import util

    for name, module in sys.modules.items():  # loaded by a site's start-up code
        if name == "fer" or name.startswith("fer."):
            sys.exit(f"{name} of {getattr(module, '__file__', None)} was loaded before {HERE}, "
                     "the code that this process should run")
    spec = util.spec_from_file_location("fer", os.path.join(HERE, "__init__.py"),
                                        submodule_search_locations=[HERE])
    assert spec is not None and spec.loader is not None
    sys.modules["fer"] = util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules["fer"])


def main(arguments: list[str]) -> None:
    """Run Python with these arguments; report incomplete code in one line."""
    import runpy

    if folder := os.environ.pop(FOLDER, ""):
        os.chdir(folder)
    what, *rest = arguments
    try:
        _load_package()
        if what == "-m":
            sys.argv = rest
            runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
        elif what == "-c":
            sys.argv = ["-c", *rest[1:]]
            exec(compile(rest[0], "<string>", "exec"), {"__name__": "__main__"})
        else:
            sys.argv = arguments
            runpy.run_path(what, run_name="__main__")
    except ImportError as error:
        cause = error.__cause__ or error  # runpy wraps import errors of packages
        if not (isinstance(cause, ImportError) and (cause.name or "").startswith("fer.")):
            raise
        sys.exit(str(cause))


if __name__ == "__main__":
    main(sys.argv[1:])
