"""Shared parts of the scripts in `launch/`: exit codes, one-line errors, fast help."""

import contextlib
import errno
import functools
import os
import signal
import sys
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Optional

os.environ.setdefault("TYPER_USE_RICH", "0")  # rich help pages cost more than the rest of --help

import typer

from fer.config.paths import refuse_copied_code
from fer.errors import CallerError, CallerLines, Interrupted, Unavailable
from fer.plain_text import shortened, without_controls
from fer.safe_path import HAS_SAFE_PATH, safe_children

MISTAKE = 2
LONGEST_LINE = 4000  # characters of an error
ProfileChanges = Annotated[Optional[list[str]], typer.Option(  # noqa: UP045 - typer reads it
    "--set", metavar="KEY=VALUE", help="Change a key of the profile, such as partition=debug.")]

# click's UsageError, found this way because newer typers vendor click
_UsageError: type[Exception] = typer.BadParameter.__mro__[1]


def run(*functions: Callable[..., None]) -> None:
    """Run functions as typer commands; several become subcommands, named by the first word of each.

    A `CallerError` becomes one line on standard error and exit code 2, without a traceback, as
    does a wrong option or a full or read-only disk.
    """
    app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
    for function in functions:
        name = function.__name__.partition("_")[0]  # `list_sets` becomes `list`
        app.command(name, context_settings={"help_option_names": ["-h", "--help"]})(
            _answering(function))
    with contextlib.suppress(AttributeError):  # a file name that is not UTF-8 can be printed
        sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    try:
        with safe_children() if HAS_SAFE_PATH else contextlib.nullcontext():
            code = app(standalone_mode=False)
    except _UsageError as error:
        message = " ".join(error.format_message().split())  # type: ignore[attr-defined]
        _report(f"{message.rstrip('.')}; see {_script()} --help")
        code = MISTAKE
    sys.exit(code or 0)


def _answering(function: Callable[..., None]) -> Callable[..., None]:
    """Wrap `function` so that errors of the caller or the system are printed in one line."""
    @functools.wraps(function)
    def answer(*args: Any, **kwargs: Any) -> None:
        """Call `function`; end with the exit code of what it raised."""
        try:
            refuse_copied_code()
            function(*args, **kwargs)
        except CallerError as error:
            _report(str(error), lines=isinstance(error, CallerLines))
            raise typer.Exit(MISTAKE) from None
        except Unavailable as error:
            _report(f"{error}; the same command continues later")
            raise typer.Exit(1) from None
        except OSError as error:
            from fer.study.disk_space import disk_refusal

            line = disk_refusal(error)
            if error.errno == errno.ENAMETOOLONG:
                line = f"{shortened(str(error.filename))}: {error.strerror}"
            if line is None:
                raise
            _report(line)
            raise typer.Exit(MISTAKE) from None
        except KeyboardInterrupt as stop:
            number = stop.number if isinstance(stop, Interrupted) else signal.SIGINT
            name = signal.Signals(number).name
            how = "interrupted" if number == signal.SIGINT else f"ended by {name}"
            with contextlib.suppress(OSError):  # the terminal hung up
                _report(f"{how}; run the command again to continue")
            raise typer.Exit(128 + number) from None

    return answer


def _report(line: str, lines: bool = False) -> None:
    text = without_controls(line if lines else line.replace("\n", "\\n"))
    cut = text if len(text) <= LONGEST_LINE else f"{text[:LONGEST_LINE]}…"
    print(f"{_script()}: {cut}", file=sys.stderr)


def _script() -> str:
    return os.path.basename(sys.argv[0])


def divide(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Split positional arguments into names and `key=value` overrides."""
    names = [text for text in arguments if "=" not in text]
    return names, [text for text in arguments if "=" in text]
