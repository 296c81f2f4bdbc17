"""How runs were trained: the settings that a methods section names, from `config.yaml`."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from fer.config.tree import parse_yaml
from fer.errors import CallerError
from fer.report.read.collect import ReportRun
from fer.report.read.memory import Memory

SECTIONS = ("optim", "schedule", "loss", "train", "compute", "data")
LEFT_OUT = ("data.classes", "data.sets", "data.drawn", "data.shared_people", "compute.device",
            "compute.threads", "compute.determinism")  # said elsewhere, or of no effect on numbers
MOST_READ = 200  # configurations: three milliseconds each
MOST_VALUES = 4  # of one setting; more are counted


def settings(runs: Sequence[ReportRun], memory: Memory) -> str:
    """Return a sentence with each setting and its values; empty where no run says any.

    A run of each configuration is looked at. A value that not all have is followed by how many do.
    """
    found: dict[str, Counter[str]] = {}
    first = {run.config_id: run for run in reversed(runs)}
    read = 0
    for run in list(first.values())[:MOST_READ]:
        values = _settings_of(run, memory)
        read += bool(values)
        for key, value in values.items():
            found.setdefault(key, Counter())[value] += 1
    if not read:
        return ""
    said = "; ".join(f"{key} {_said(counts, read)}" for key, counts in found.items())
    of = f" of {len(first)}" if len(first) > read else ""
    return (f"Settings of {read}{of} configurations (how many, where they differ; the rest is in "
            f"each run's config.yaml): {said}.")


def _said(counts: Counter[str], read: int) -> str:
    if counts.total() == read and len(counts) == 1:
        return next(iter(counts))
    if len(counts) > MOST_VALUES:
        return f"{len(counts)} values"
    return ", ".join(f"{value} ({number})" for value, number in counts.most_common())


def _settings_of(run: ReportRun, memory: Memory) -> dict[str, str]:
    """Return the settings of one run as dotted keys; none where its file cannot be read."""
    try:
        tree = mapping(parse_yaml(memory.text(f"{run.folder}/config.yaml") or "{}",
                                  str(run.folder)))
    except (OSError, CallerError):
        return {}
    flat = {"input size": mapping(tree.get("backbone")).get("input_size"), **{
        f"{section}.{key}": value for section in SECTIONS
        for key, value in mapping(tree.get(section)).items()}}
    return {key: _text(value) for key, value in flat.items()
            if value is not None and key not in LEFT_OUT}


def mapping(value: Any) -> dict[str, Any]:
    """Return a mapping as it is; nothing where a damaged file has something else there."""
    return value if isinstance(value, dict) else {}


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} {_text(one)}" for key, one in value.items()) + "}"
    return str(value).lower() if isinstance(value, bool) else str(value)
