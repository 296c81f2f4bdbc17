"""A store whose files were written by somebody else: which files, and what may stand in them.

    python tests/hostile_store.py --inputs 10000 --seed 1

Trains a small study, then replaces one file after another and runs what reads the store. Prints a
line for each input that ended in a traceback, took over two seconds longer than usual, or 500 MB
more than any before it.
"""

import argparse
import os
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from commands import launch
from fuzz.damage import changed_content
from fuzz.doors import MOST_MB, peak_mb


def files_of(home: Path) -> list[Path]:
    """Return the files of a store that a command reads as JSON, JSON lines or YAML, sorted."""
    kinds = (".json", ".jsonl", ".yaml")
    return sorted(path for path in home.rglob("*") if path.is_file() and not path.is_symlink()
                  and (path.suffix in kinds or path.name == "lease")
                  and "code" not in path.relative_to(home).parts)


def replace_file(file: Path, draw: random.Random) -> bytes:
    """Put other content, or something that is no file, in the place of a file; return what."""
    content = file.read_bytes()
    file.unlink()  # caches know a file by its inode
    kind = draw.choice(("content",) * 9 + ("FIFO", "folder", "link", "zero"))
    if kind == "FIFO":
        os.mkfifo(file)
    elif kind == "folder":
        file.mkdir()
    elif kind == "link":
        file.symlink_to(file.name)
    elif kind == "zero":
        file.symlink_to("/dev/zero")
    else:
        content = changed_content(content, draw)
        file.write_bytes(content)
        return content
    return kind.encode()


@dataclass(frozen=True)
class Finding:
    """What a command did with one input that it must not do."""

    command: str
    file: str
    content: bytes
    problem: str

    def __str__(self) -> str:
        return f"{self.command} {self.file} {self.content[:100]!r}: {self.problem}"


def problem_of(command: tuple[str, ...], seconds: float) -> str:
    """Run a command; return what it must not do, or ''."""
    begin = time.monotonic()
    done = launch(*command)
    took, said = time.monotonic() - begin, done.stdout + done.stderr
    if "Traceback" in said:
        return "traceback: " + "\n".join(said.strip().splitlines()[-7:])
    if done.returncode not in (0, 1, 2, 3):
        return f"exit code {done.returncode}"
    if "\x1b]" in said or "\x1b[2J" in said:
        return "an escape sequence reaches the terminal"
    return f"took {took:.1f} s" if took > seconds else ""


def trained_store(root: Path) -> Path:
    """Train a study of two small runs below `root`, point the environment at it, and report it.

    Returns its file.
    """
    from conftest import finished_study, write_toy_set

    data = root / "toy data"
    for folder, mask in (("LFW-FER", False), ("M-LFW-FER", True)):
        write_toy_set(data / folder, "train", people=6, mask=mask)
        write_toy_set(data / folder, "eval", people=4, mask=mask, first=30)
    write_toy_set(data / "REAL-FER", "test", people=4, mask=True, first=100)
    env = finished_study(root, data, {"seed": [0, 1]}, {"train.epochs": 1})
    os.environ.update(env)
    return root / "toy.yaml"


def commands_on(study: Path) -> list[tuple[str, ...]]:
    """Return the commands that read a store."""
    return [("status", "toy"), ("status",), ("report", "toy"),
            ("sweep", str(study), "--dry-run", "--cluster", "local")]


def fuzzed(study: Path, home: Path, inputs: int, seed: int) -> Iterator[Finding]:
    """Yield what goes wrong over a number of inputs; each is read by one command."""
    draw = random.Random(seed)
    commands = commands_on(study)
    usual = {command: _seconds(command) for command in commands}
    peak = peak_mb()
    for _ in range(inputs):
        file = draw.choice(files_of(home))
        command = draw.choice(commands)
        kept = home.with_name("kept")
        shutil.rmtree(kept, ignore_errors=True)
        shutil.copytree(home, kept, symlinks=True)
        content = replace_file(file, draw)
        problem, before = problem_of(command, usual[command] + 2), peak
        peak = peak_mb()
        if peak - before > MOST_MB:
            problem = problem or f"took {peak - before:.0f} MB"
        shutil.rmtree(home)
        kept.rename(home)
        if problem:
            yield Finding(" ".join(command[:2]), str(file.relative_to(home)), content, problem)


def _seconds(command: tuple[str, ...]) -> float:
    begin = time.monotonic()
    launch(*command)
    return time.monotonic() - begin


def main() -> int:
    """Print the findings; return 1 if there are any."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--inputs", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        study = trained_store(Path(folder))
        found, trained = 0, peak_mb()
        for finding in fuzzed(study, Path(folder) / "home", asked.inputs, asked.seed):
            found += 1
            print(finding, flush=True)
        print(f"{asked.inputs} inputs, seed {asked.seed}: {found} findings; "
              f"{peak_mb():.0f} MB at most, {trained:.0f} MB after training")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
