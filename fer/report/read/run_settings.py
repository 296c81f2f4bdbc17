"""How runs were trained: the settings that a methods section names, from `config.yaml`."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from fer.config.yaml_io import parse_yaml
from fer.errors import CallerError
from fer.report.read.load import ReportRun
from fer.report.read.report_cache import Memory

SECTIONS = ("optim", "schedule", "loss", "train", "compute", "data")
LEFT_OUT = ("data.classes", "data.sets", "data.drawn", "data.shared_people", "compute.device",
            "compute.threads", "compute.determinism")  # said elsewhere, or of no effect on numbers
IDLE = {"constant": ("factor", "patience", "min_lr"), "cosine": ("factor", "patience"),
        "radam": ("momentum",), "adamw": ("momentum",), "sgd": ("betas",)}  # by what has them
MOST_READ = 200  # configurations: three milliseconds each
MOST_VALUES = 4  # of one setting; more are counted


def settings(runs: Sequence[ReportRun], memory: Memory) -> str:
    """Return a sentence with each setting and its values; empty where no run says any.

    A run of each configuration is looked at. A value that not all have is followed by how many do.
    """
    found: dict[str, Counter[str]] = {}
    recipes: dict[str, str] = {}
    first = {run.config_id: run for run in reversed(runs)}
    read = 0
    for run in list(first.values())[:MOST_READ]:
        tree = _tree(run, memory)
        values = _settings_of(tree)
        if recipe := _recipe(tree):
            recipes.setdefault(recipe, run.recipe)
        read += bool(values)
        for key, value in values.items():
            found.setdefault(key, Counter())[value] += 1
    if not read:
        return ""
    said = "; ".join(f"{key} {_said(counts, read)}" for key, counts in found.items())
    of = f" of {len(first)}" if len(first) > read else ""
    return (f"Settings of {read}{of} configurations (how many, where they differ; the rest is in "
            f"each run's config.yaml): {said}.{_recipes(recipes)}")


def _said(counts: Counter[str], read: int) -> str:
    if counts.total() == read and len(counts) == 1:
        return next(iter(counts))
    if len(counts) > MOST_VALUES:
        return f"{len(counts)} values"
    return ", ".join(f"{value} ({number})" for value, number in counts.most_common())


def _recipes(found: dict[str, str]) -> str:
    """Return what each recipe does, from {what it does: its name}."""
    if not found:
        return ""
    return " Recipes: " + "; ".join(f"{name}: {text}" for text, name in found.items()) + "."


def _recipe(tree: dict[str, Any]) -> str:
    """Return how a run starts and its phases; what they leave open is in the settings."""
    recipe = mapping(tree.get("recipe"))
    phases = recipe.get("phases")
    parts = [f"{key} {_text(value)}" for key, value in _given(recipe).items()
             if key not in ("phases", "name")]
    parts += [f"phase {_text(_given(mapping(phase)))}"
              for phase in (phases if isinstance(phases, list) else [])]
    return ", ".join(parts)


def _given(tree: dict[str, Any]) -> dict[str, Any]:
    """Return what is set in a part of a recipe, in its parts too."""
    found = {key: _given(value) if isinstance(value, dict) else value
             for key, value in tree.items() if key not in IDLE.get(str(tree.get("name")), ())}
    return {key: value for key, value in found.items() if _set(value)}


def _set(value: Any) -> bool:
    return value not in (None, "", 0, {}, [])  # 0 is False too


def _tree(run: ReportRun, memory: Memory) -> dict[str, Any]:
    """Return the configuration of a run; empty where its file cannot be read."""
    try:
        return mapping(parse_yaml(memory.text(f"{run.folder}/config.yaml") or "{}",
                                  str(run.folder)))
    except (OSError, CallerError):
        return {}


def _settings_of(tree: dict[str, Any]) -> dict[str, str]:
    """Return the settings of one run as dotted keys."""
    backbone = mapping(tree.get("backbone"))
    start = mapping(mapping(tree.get("recipe")).get("init")).get("source")
    weights = _given(mapping(backbone.get("pretrained"))) if start == "pretrained" else {}
    sections = {section: mapping(tree.get(section)) for section in SECTIONS}
    flat = {"input size": backbone.get("input_size"), "starts from": weights or None, **{
        f"{section}.{key}": value for section, values in sections.items()
        for key, value in values.items() if key not in IDLE.get(str(values.get("name")), ())}}
    return {key: _text(value) for key, value in flat.items()
            if value is not None and key not in LEFT_OUT}


def mapping(value: Any) -> dict[str, Any]:
    """Return a mapping as it is; nothing where a damaged file has something else there."""
    return value if isinstance(value, dict) else {}


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} {_text(one)}" for key, one in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_text, value)) + "]"
    return str(value).lower() if isinstance(value, bool) else str(value)
