"""What the scripts in `launch/` share: exit codes, one line for a caller's mistake, fast help."""

import contextlib
import functools
import os
import signal
import sys
from collections.abc import Callable, Sequence
from typing import Any

os.environ.setdefault("TYPER_USE_RICH", "0")  # rich help pages cost more than the rest of --help

import typer

from fer.errors import CallerError, Interrupted
from fer.safe_path import HAS_SAFE_PATH, safe_children

MISTAKE = 2

# click's UsageError; by this way, because newer typers carry a click of their own
_UsageError: type[Exception] = typer.BadParameter.__mro__[1]


def run(*functions: Callable[..., None]) -> None:
    """Run a function as a typer command; several are the verbs of one script, by the first words of
    their names.

    A `CallerError` becomes one line on standard error and exit code 2, without a traceback; so
    do a wrong option and a disk that is full or read-only.
    """
    app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
    for function in functions:
        name = function.__name__.partition("_")[0]  # `list_sets` is the verb `list`
        app.command(name, context_settings={"help_option_names": ["-h", "--help"]})(
            _answering(function))
    try:
        with safe_children() if HAS_SAFE_PATH else contextlib.nullcontext():
            code = app(standalone_mode=False)
    except _UsageError as error:
        message = " ".join(error.format_message().split())  # type: ignore[attr-defined]
        _say(f"{message.rstrip('.')}; see {_script()} --help")
        code = MISTAKE
    sys.exit(code or 0)


def _answering(function: Callable[..., None]) -> Callable[..., None]:
    """Return `function` with the errors that are not the code's said in one line."""
    @functools.wraps(function)
    def answer(*args: Any, **kwargs: Any) -> None:
        try:
            function(*args, **kwargs)
        except CallerError as error:
            _say(str(error))
            raise typer.Exit(MISTAKE) from None
        except OSError as error:
            from fer.study.disk_space import disk_refusal

            line = disk_refusal(error)
            if line is None:
                raise
            _say(line)
            raise typer.Exit(MISTAKE) from None
        except KeyboardInterrupt as stop:
            number = stop.number if isinstance(stop, Interrupted) else signal.SIGINT
            name = signal.Signals(number).name
            how = "interrupted" if number == signal.SIGINT else f"ended by {name}"
            with contextlib.suppress(OSError):  # a terminal that hung up
                _say(f"{how}; run the command again to go on")
            raise typer.Exit(128 + number) from None

    return answer


def _say(line: str) -> None:
    print(f"{_script()}: {line}", file=sys.stderr)


def _script() -> str:
    return os.path.basename(sys.argv[0])


def divide(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Divide positional arguments into names and `key=value` overrides."""
    names = [text for text in arguments if "=" not in text]
    return names, [text for text in arguments if "=" in text]
