"""What runs ran on and with: packages, commits, hardware, settings, digests of their data."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fer.report.read.collect import ReportRun
from fer.report.read.memory import Memory
from fer.report.read.settings import mapping, settings

NAMED = ("torch", "torchvision", "accelerate", "pytorchcv", "numpy", "pillow")


@dataclass(frozen=True)
class Provenance:
    """What a reader needs to repeat the numbers; each line says how many runs it holds for.

    Attributes:
        digests: split -> digests of its content that runs were trained or validated on.
        settings: a sentence; empty where no run says any.
    """

    versions: tuple[str, ...]
    commits: tuple[str, ...]
    machines: tuple[str, ...]
    digests: dict[str, tuple[str, ...]]
    settings: str


def provenance(runs: Sequence[ReportRun], memory: Memory) -> Provenance:
    """Return what `env.json` and `config.yaml` of `runs` say; unreadable ones are left out."""
    versions: Counter[str] = Counter()
    commits: Counter[str] = Counter()
    machines: Counter[str] = Counter()
    digests: dict[str, set[str]] = {}
    for run in runs:
        facts = _read(run, memory)
        if not facts:
            continue
        packages, git = mapping(facts.get("packages")), mapping(facts.get("git"))
        versions[", ".join([f"Python {facts.get('python')}", *(
            f"{name} {packages[name]}" for name in NAMED if name in packages)])] += 1
        commits[f"{str(git.get('commit') or 'unknown')[:12]}"
                f"{' with uncommitted changes' if git.get('dirty') else ''}"] += 1
        machines[f"{facts.get('gpu') or facts.get('machine')}, {facts.get('world_size')} "
                 f"process(es), precision {facts.get('precision')}"] += 1
        for split, digest in mapping(facts.get("digests")).items():
            if "/" not in split:  # weights, mask types
                continue
            digests.setdefault(split, set()).add(str(digest)[:16])
    return Provenance(_lines(versions), _lines(commits), _lines(machines),
                      {split: tuple(sorted(found)) for split, found in sorted(digests.items())},
                      settings(runs, memory))


def _read(run: ReportRun, memory: Memory) -> dict[str, Any]:
    try:
        return mapping(json.loads(memory.text(f"{run.folder}/env.json") or "{}"))
    except (OSError, ValueError):
        return {}


def _lines(found: Counter[str]) -> tuple[str, ...]:
    if len(found) == 1:
        return tuple(found)
    return tuple(f"{line} ({number} runs)" for line, number in found.most_common())
