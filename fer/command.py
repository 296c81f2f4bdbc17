"""What the scripts in `launch/` share: exit codes, one line for a caller's mistake, fast help."""

import errno
import os
import sys
from collections.abc import Callable, Sequence

os.environ.setdefault("TYPER_USE_RICH", "0")  # rich help pages cost more than the rest of --help

import typer

from fer.errors import CallerError

MISTAKE = 2


def run(function: Callable[..., None]) -> None:
    """Run `function` as a typer command.

    A `CallerError` becomes one line on standard error and exit code 2, without a traceback; so
    does a disk that is full or read-only.
    """
    app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
    app.command(context_settings={"help_option_names": ["-h", "--help"]})(function)
    try:
        app()
    except CallerError as error:
        print(f"{_script()}: {error}", file=sys.stderr)
        sys.exit(MISTAKE)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EDQUOT):
            raise
        place = f": {error.filename}" if error.filename else ""
        print(f"{_script()}: {error.strerror}{place}; nothing is lost: run the command again "
              "when there is room to write (FER_HOME, FER_CACHE and FER_DATA say where)",
              file=sys.stderr)
        sys.exit(MISTAKE)
    except KeyboardInterrupt:
        print(f"{_script()}: interrupted; run the command again to go on", file=sys.stderr)
        sys.exit(130)


def _script() -> str:
    return os.path.basename(sys.argv[0])


def divide(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Divide positional arguments into names and `key=value` overrides."""
    names = [text for text in arguments if "=" not in text]
    return names, [text for text in arguments if "=" in text]
