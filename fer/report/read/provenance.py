"""What runs ran on and with: packages, commits, hardware, settings, digests of their data."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fer.report.formatting import count
from fer.report.read.load import ReportRun
from fer.report.read.report_cache import Memory
from fer.report.read.run_settings import mapping, settings

DIRTY = " with uncommitted changes"
NAMED = ("torch", "torchvision", "accelerate", "pytorchcv", "numpy", "pillow")


@dataclass(frozen=True)
class Provenance:
    """What a reader needs to repeat the numbers; each line says how many runs it holds for.

    Attributes:
        digests: split, or starting weights -> digests of its content, as runs had it.
        validation: training set -> pictures of the validation split of a run on it.
        settings: a sentence; empty where no run says any.
        mixed: what keeps the runs from being of one known state of the code; empty if nothing.
    """

    versions: tuple[str, ...]
    commits: tuple[str, ...]
    machines: tuple[str, ...]
    digests: dict[str, tuple[str, ...]]
    validation: dict[str, int]
    settings: str
    mixed: str = ""


def provenance(runs: Sequence[ReportRun], memory: Memory) -> Provenance:
    """Return what `env.json` and `config.yaml` of `runs` say; unreadable ones are left out."""
    versions: Counter[str] = Counter()
    commits: Counter[str] = Counter()
    machines: Counter[str] = Counter()
    digests: dict[str, set[str]] = {}
    validation: dict[str, int] = {}
    for run in runs:
        facts = _read(run, memory)
        if not facts:
            continue
        packages, git = mapping(facts.get("packages")), mapping(facts.get("git"))
        versions[", ".join([f"Python {facts.get('python')}", *(
            f"{name} {packages[name]}" for name in NAMED if name in packages)])] += 1
        commits[f"{str(git.get('commit') or 'unknown')[:12]}"
                f"{DIRTY if git.get('dirty') else ''}"] += 1
        hardware = facts.get("gpu") or facts.get("cpu") or facts.get("machine")
        ranks = facts.get("world_size")
        processes = f", {count(ranks, 'process')}" if isinstance(ranks, int) else ""
        machines[f"{hardware}{processes}, precision {facts.get('precision')}"] += 1
        if isinstance(pictures := facts.get("validation_pictures"), int):
            validation[run.train_on] = pictures
        for split, digest in mapping(facts.get("digests")).items():
            if split == "weights":
                split = f"starting weights of {run.backbone}"
            elif "/" not in split:  # mask types
                continue
            digests.setdefault(split, set()).add(str(digest)[:16])
    return Provenance(_lines(versions), _lines(commits), _lines(machines),
                      {split: tuple(sorted(found)) for split, found in sorted(digests.items())},
                      validation, settings(runs, memory), _mixed(commits, versions))


def _mixed(commits: Counter[str], versions: Counter[str]) -> str:
    dirty = sum(number for line, number in commits.items() if line.endswith(DIRTY))
    parts = []
    if len({line.removesuffix(DIRTY) for line in commits}) > 1:
        parts.append(f"runs are of {len(commits)} states of the code")
    if dirty:
        parts.append(f"{count(dirty, 'run')} had uncommitted changes")
    if len(versions) > 1:
        parts.append(f"runs are of {len(versions)} sets of package versions")
    return f"{'; '.join(parts)}: the methods say how many of each" if parts else ""


def _read(run: ReportRun, memory: Memory) -> dict[str, Any]:
    try:
        return mapping(json.loads(memory.text(f"{run.folder}/env.json") or "{}"))
    except (OSError, ValueError):
        return {}


def _lines(found: Counter[str]) -> tuple[str, ...]:
    if len(found) == 1:
        return tuple(found)
    return tuple(f"{line} ({number} runs)" for line, number in found.most_common())
