"""Record what a checkout computes, so that another commit can be compared with it byte for byte.

    python tests/record.py OUT.json                  record this checkout, as its files are now
    python tests/record.py --against REV             record REV and this checkout, and compare them
    python tests/record.py --compare A.json B.json   compare two records of one machine

The exit code is 0 where both are equal, 1 where something differs or a command fails. A record has

    data            digests of the data sets: toy ones (record_world.py), drawn ones of the checkout
    run ids         the run folders that `sweep.py STUDY --dry-run` names, for each of sweeps/*.yaml
    tables          results, summary, gap and recall of a small study with drawn masks and mixing
    losses          metrics.jsonl of every recipe of configs/recipes and of what they start from
    sbatch          the scripts that a study of two GPUs a run gets on each of slurm/profiles
    configurations  config.yaml of those runs
    names           of the files in run folders and in the small study's folder
    keys            of the JSON files in run folders

What it does not have at full size: the shipped studies on drawn faces are planned on a few of them
(`DRAWN`), the others on toy pictures and on weights files of zeros, of which ResNet-34 stands for
ResMasking; SLURM's commands are stubs. Searches (a file with the key `search`) are left out.

It has to record commits of the past and the future. So it knows the commands of launch/ and the
files of run and study folders, and imports nothing from the project. Paths, the snapshot's digest,
the hash in a job's comment and modules of the project behind `-m` are placeholders in it.
"""

import argparse
import difflib
import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from record_world import DRAWN, LARGE, RECIPES, SMALL, write_world

REPOSITORY = Path(__file__).resolve().parents[1]
MOST_LINES = 12  # of a difference that are printed
MOST_SECONDS = 3600  # of one command, on a busy machine
TABLES = ("results.csv", "summary.csv", "gap.csv", "recall.csv")
JSON_FILES = ("train.json", "env.json", "status.json", "submit.json")

DRAW = """
import sys
from rich.console import Console
from fer.cluster.request import Request, expand_request
expand_request(Request(tuple(sys.argv[1:2]), tuple(sys.argv[2:])).study(), Console(quiet=True))
"""  # for commits whose dry runs draw no faces

Record = dict[str, dict[str, list[str]]]  # part -> item -> lines


@dataclass(frozen=True)
class Limits:
    """Which studies, recipes and profiles, by the names of their files; empty for all.

    Attributes:
        planned: only data, run ids and scripts: nothing is trained.
    """

    studies: Sequence[str] = ()
    recipes: Sequence[str] = ()
    profiles: Sequence[str] = ()
    planned: bool = False


@dataclass(frozen=True)
class Side:
    """One checkout and the folder with all that it reads and writes."""

    checkout: Path
    folder: Path

    def places(self) -> dict[str, str]:
        """Return FER_DATA, FER_HOME and FER_CACHE."""
        return {f"FER_{name.upper()}": str(self.folder / name)
                for name in ("data", "home", "cache")}

    def run(self, *arguments: object) -> str:
        """Run Python in the checkout and return what it printed."""
        command = [sys.executable, *map(str, arguments)]
        kept = {key: value for key, value in os.environ.items()
                if not key.startswith(("FER_", "SLURM_", "SBATCH_"))}
        env = {**kept, **self.places(), "PYTHONPATH": str(self.checkout), "COLUMNS": "100",
               "PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}", "OMP_NUM_THREADS": "1",
               "CUDA_VISIBLE_DEVICES": ""}
        print(self.folder.name, *command[1:], file=sys.stderr)
        done = subprocess.run(command, cwd=self.checkout, env=env, capture_output=True, text=True,
                              timeout=MOST_SECONDS)
        if done.returncode:
            raise SystemExit(f"{self.checkout}: {' '.join(command)}: exit code {done.returncode}\n"
                             + (done.stdout + done.stderr)[-2000:])
        return done.stdout

    def study(self, content: Mapping[str, Any]) -> Path:
        """Write a study file and return its path."""
        file = self.folder / f"{content['study']}.yaml"
        file.write_text(yaml.safe_dump(dict(content)))
        return file

    def lines(self, text: str) -> list[str]:
        """Return a text's lines with placeholders for what differs between equal checkouts."""
        return normalised(text, {**self.places(), "checkout": str(self.checkout),
                                 "python": sys.executable}).split("\n")

    def texts(self, files: Mapping[str, Path]) -> dict[str, list[str]]:
        """Return the lines of the files that are there, whatever ends them."""
        return {name: self.lines(path.read_bytes().decode())
                for name, path in files.items() if path.is_file()}

    def files(self, pattern: str, names: Sequence[str]) -> list[Path]:
        """Return the files of this pattern in the checkout, or those of these names."""
        found = {path.stem: path for path in sorted(self.checkout.glob(pattern))}
        if unknown := set(names) - set(found):
            raise SystemExit(f"no {', '.join(unknown)} in {pattern}; there are {', '.join(found)}")
        return [path for name, path in found.items() if not names or name in names]


def record(side: Side, limits: Limits) -> Record:
    """Return the record of a checkout; its folder is made here."""
    write_world(side.folder, side.checkout / "slurm/profiles")
    imported = side.run("-c", "import fer; print(fer.__file__)").strip()
    assert Path(imported).is_relative_to(side.checkout), f"{imported} is not of {side.checkout}"
    planned = {"run ids": planned_runs(side, limits), "sbatch": scripts(side, limits)}
    return {**planned, **({} if limits.planned else trained(side, limits)),
            "data": digests(side.folder / "data")}


def planned_runs(side: Side, limits: Limits) -> dict[str, list[str]]:
    """Return the runs of the shipped studies."""
    return {file.name: run_names(side, file, *drawn_overrides(side, file))
            for file in side.files("sweeps/*.yaml", limits.studies)
            if "search" not in yaml.safe_load(file.read_text())}


def scripts(side: Side, limits: Limits) -> dict[str, list[str]]:
    """Return the batch scripts of a study by cluster."""
    profiles = [path.stem for path in side.files("slurm/profiles/*.yaml", limits.profiles)]
    return {name: side.lines(scripts_in(side.run("launch/sweep.py", side.study(LARGE), "--dry-run",
                                                 "--cluster", name))) for name in profiles}


def trained(side: Side, limits: Limits) -> Record:
    """Return what two studies leave behind, which are run here."""
    small = side.study(SMALL)
    names = [path.stem for path in side.files("configs/recipes/*.yaml", limits.recipes)]
    recipes = side.study({**RECIPES, "grid": {**RECIPES["grid"], "recipe": names}})
    runs = {**labelled("small", run_names(side, small)), **labelled("", run_names(side, recipes))}
    for study in (small, recipes):
        side.run("launch/sweep.py", study, "--cluster", "local", "--slots", 1)  # fewer processes
    home = side.folder / "home"
    folders = {label: home / "runs" / name for label, name in runs.items()}
    report = home / "studies" / SMALL["study"] / "report"
    return {
        "tables": side.texts({name: report / name for name in TABLES}),
        "losses": side.texts({name: path / "metrics.jsonl" for name, path in folders.items()}),
        "configurations": side.texts({name: path / "config.yaml"
                                      for name, path in folders.items()}),
        "names": {label: file_names(folder)
                  for label, folder in {"study folder": report.parent, **folders}.items()},
        "keys": {name: sorted({key for folder in folders.values() if (folder / name).is_file()
                               for key in keys_of(json.loads((folder / name).read_text()))})
                 for name in JSON_FILES}}


def drawn_overrides(side: Side, study: Path) -> list[str]:
    """Return what makes a study on drawn faces draw few of them."""
    base = yaml.safe_load((side.checkout / yaml.safe_load(study.read_text())["base"]).read_text())
    drawn = "drawn" in (base.get("data") or {})
    return [f"{key}={value}" for key, value in DRAWN.items()] if drawn else []


def run_names(side: Side, study: Path, *overrides: str) -> list[str]:
    """Return the names of a study's run folders, in the order of the plan."""
    command = ("launch/sweep.py", study, "--dry-run", "--cluster", "local", *overrides)
    printed = side.run(*command)
    if "provisional" in printed:  # until the faces are drawn
        side.run("-c", DRAW, study, *overrides)
        printed = side.run(*command)
    names = re.findall(r"^[a-z]+ +(\S+-s\d+-[0-9a-f]{8,})$", printed, re.MULTILINE)
    if not names:
        raise SystemExit(f"{study}: no runs in what its dry run printed:\n{printed}")
    return names


def scripts_in(printed: str) -> str:
    """Return the batch scripts that a dry run printed, with the line above each."""
    found = re.search(r"^# array .*?(?=^disk: )", printed, re.MULTILINE | re.DOTALL)
    if not found:
        raise SystemExit(f"no scripts in what a dry run printed:\n{printed}")
    return found[0]


def labelled(study: str, names: Iterable[str]) -> dict[str, str]:
    """Return names of run folders by what they are called without their ids, numbered if alike."""
    seen, found = Counter[str](), dict[str, str]()
    for name in names:
        label = " ".join(filter(None, (study, name.rpartition("-")[0])))
        seen[label] += 1
        found[label if seen[label] == 1 else f"{label} ({seen[label]})"] = name
    return found


def normalised(text: str, places: Mapping[str, str]) -> str:
    """Return a text with placeholders for places and for what follows from the code's own digest.

    Args:
        places: placeholder -> path.
    """
    for name, path in sorted(places.items(), key=lambda pair: -len(pair[1])):
        text = text.replace(path, f"<{name}>")
    text = re.sub(r"\bcode-[0-9a-f]{12}\b", "code-<digest>", text)
    text = re.sub(r"(--comment=fer:[\w-]+:)[0-9a-f]{16}$", r"\1<hash>", text, flags=re.MULTILINE)
    return re.sub(r"(?<= -m )fer(\.\w+)+", "<module>", text)


def file_names(folder: Path) -> list[str]:
    """Return the paths of all files below a folder, without times, hosts and processes in them."""
    names = {str(path.relative_to(folder)) for path in folder.rglob("*")
             if path.is_symlink() or not path.is_dir()}
    names = {re.sub(r"\.tfevents\.\d+\..+\.\d+\.\d+(?=$|\.[a-z])", ".tfevents.<writer>", name)
             for name in names}
    return sorted({re.sub(r"^(jobs/(?:[^/]+/)?)\d+_", r"\1<process>_", name) for name in names})


def keys_of(value: object, above: str = "") -> Iterator[str]:
    """Yield the dotted keys of a JSON value; the elements of a list have one."""
    for key, inner in value.items() if isinstance(value, dict) else ():
        yield f"{above}{key}"
        yield from keys_of(inner, f"{above}{key}.")
    for inner in value if isinstance(value, list) else ():
        yield from keys_of(inner, f"{above}[].")


def digests(data: Path) -> dict[str, list[str]]:
    """Return a digest of each data set, names and bytes."""
    files: dict[str, list[Path]] = {}
    for path in sorted(data.rglob("*")):
        if path.suffix in (".png", ".jpg", ".csv"):
            depth = 2 if path.relative_to(data).parts[0] == "drawn" else 1
            files.setdefault("/".join(path.relative_to(data).parts[:depth]), []).append(path)
    return {name: [hashlib.sha256(b"".join(
        f"{path.relative_to(data)}\0".encode() + hashlib.sha256(path.read_bytes()).digest()
        for path in paths)).hexdigest()] for name, paths in files.items()}


def compare(one: Record, two: Record) -> list[str]:
    """Return what differs between two records: for each item what it is, and its changed lines."""
    found = []
    for part in dict.fromkeys([*one, *two]):
        before, after = one.get(part, {}), two.get(part, {})
        for item in dict.fromkeys([*before, *after]):
            if item not in before or item not in after:
                found.append(f"{part}: {item}: only in the "
                             f"{'first' if item in before else 'second'}")
            elif lines := changed_lines(before[item], after[item]):
                found.append("\n    ".join([f"{part}: {item}:", *lines]))
    return found


def changed_lines(before: Sequence[str], after: Sequence[str]) -> list[str]:
    """Return the lines that went and came; of very many the first of each."""
    changed = [line for line in list(difflib.unified_diff(before, after, n=0))[2:]
               if not line.startswith("@@")]
    if len(changed) <= MOST_LINES:
        return changed
    first = [line for sign in "-+" for line in
             [line for line in changed if line.startswith(sign)][:MOST_LINES // 2]]
    return [*first, f"... {len(changed) - len(first)} more"]


@contextmanager
def checked_out(revision: str, folder: Path) -> Iterator[Path]:
    """Check a commit out into a folder that is removed afterwards."""
    git = ["git", "-C", str(REPOSITORY), "worktree"]
    if subprocess.run([*git, "add", "--quiet", "--detach", str(folder), revision]).returncode:
        raise SystemExit(f"{revision}: cannot be checked out")
    try:
        yield folder
    finally:
        subprocess.run([*git, "remove", "--force", str(folder)], check=True)


def records(revision: str, limits: Limits) -> list[Record]:
    """Return the record of a commit, if one is given, and that of this checkout as it is now."""
    with tempfile.TemporaryDirectory(prefix="record-") as world:
        here = Side(REPOSITORY, Path(world) / "side-2")
        if not revision:
            return [record(here, limits)]
        with checked_out(revision, Path(world) / "checkout") as folder, \
                ThreadPoolExecutor() as pool:
            there = Side(folder, Path(world) / "side-1")
            return list(pool.map(lambda side: record(side, limits), (there, here)))


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says, or `arguments`; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("out", nargs="?", type=Path, help="where to write this checkout's record")
    parser.add_argument("--against", metavar="REV", help="record and compare this commit")
    parser.add_argument("--compare", nargs=2, type=Path, metavar=("A", "B"), help="two records")
    for kind in ("study", "recipe", "profile"):
        parser.add_argument(f"--{kind}", action="append", default=[], help="only it; repeatable")
    parser.add_argument("--planned", action="store_true",
                        help="only data, run ids and batch scripts; trains nothing")
    said = parser.parse_args(arguments)
    if sum(map(bool, (said.out, said.against, said.compare))) != 1:
        parser.error("give one of OUT.json, --against and --compare")
    limits = Limits(said.study, said.recipe, said.profile, said.planned)
    if said.out:
        said.out.write_text(json.dumps(records("", limits)[0], indent=1) + "\n")
        return 0
    found = compare(*([json.loads(path.read_text()) for path in said.compare] if said.compare
                      else records(said.against, limits)))
    print("\n".join(found) or "no difference")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
