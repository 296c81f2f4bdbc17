"""Software, hardware and settings of the runs, for the methods section.

Packages, commits, hardware and digests come from `env.json`, settings from `config.yaml`.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fer.config.yaml_io import parse_yaml
from fer.errors import CallerError
from fer.report.formatting import count
from fer.report.read.report_cache import ReportCache
from fer.report.read.run_files import ReportRun
from fer.untrusted_io import parse_json

DIRTY = " with uncommitted changes"
NAMED = ("torch", "torchvision", "accelerate", "pytorchcv", "timm", "numpy", "pillow")
SECTIONS = ("optim", "schedule", "loss", "train", "compute", "data")
LEFT_OUT = ("data.classes", "data.sets", "data.drawn", "data.shared_people", "compute.device",
            "compute.threads", "compute.determinism")  # reported elsewhere, or no effect on numbers
IDLE = {"constant": ("factor", "patience", "min_lr"), "cosine": ("factor", "patience"),
        "radam": ("momentum",), "adamw": ("momentum",), "sgd": ("betas",)}  # no effect
MOST_READ = 200  # configurations, at three milliseconds each
MOST_VALUES = 4  # values listed per setting; more are only counted


@dataclass(frozen=True)
class Provenance:
    """What a reader needs to reproduce the numbers; each line gives the number of runs.

    Attributes:
        digests: split or initial weights -> content digests recorded by the runs.
        validation: training set -> number of validation images.
        selection: which weights were kept, and on what they were validated.
        kept: which weights were kept, each rule once.
        few_people: warnings of runs that were selected on few people, or saw unlabelled pictures.
        settings: a sentence; empty if no run recorded any.
        starts: initial weights that are not the project's: file, licence and page of each.
        mixed: why the runs do not share one clean state of the code; empty if they do.
        framing: test split -> how faces are framed in it, as far as measured.
    """

    versions: tuple[str, ...]
    commits: tuple[str, ...]
    machines: tuple[str, ...]
    digests: dict[str, tuple[str, ...]]
    validation: dict[str, int]
    settings: str
    starts: tuple[str, ...] = ()
    mixed: str = ""
    selection: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    few_people: tuple[str, ...] = ()
    framing: Mapping[str, str] = field(default_factory=dict)


def provenance(runs: Sequence[ReportRun], memory: ReportCache) -> Provenance:
    """Return the provenance in `env.json` and `config.yaml` of `runs`, skipping unreadable ones."""
    versions: Counter[str] = Counter()
    commits: Counter[str] = Counter()
    machines: Counter[str] = Counter()
    digests: dict[str, set[str]] = {}
    validation: dict[str, int] = {}
    selection: Counter[str] = Counter()
    kept: Counter[str] = Counter()
    few: Counter[str] = Counter()
    for run in runs:
        facts = environment_of_run(run, memory)
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
        if "kept" in facts:
            selection[_selection(facts, run.train_on)] += 1
            kept[str(facts["kept"])] += 1
        if facts.get("few_people"):
            few[str(facts["few_people"])] += 1
        for split in _listed(facts.get("unlabelled")):
            few[f"{run.recipe} has batch-norm statistics of the unlabelled pictures of {split}: it "
                "has seen them, and is no fair comparison there with models that have not"] += 1
        for split, digest in mapping(facts.get("digests")).items():
            if split == "weights":
                split = f"initial weights of {run.backbone}"
            elif "/" not in split:  # mask types
                continue
            digests.setdefault(split, set()).add(str(digest)[:16])
    return Provenance(_lines(versions), _lines(commits), _lines(machines),
                      {split: tuple(sorted(found)) for split, found in sorted(digests.items())},
                      validation, settings(runs, memory), initial_weights(runs, memory),
                      _mixed(commits, versions),
                      _lines(selection), tuple(kept), tuple(f"in {count(number, 'run')}, {line}"
                                               for line, number in few.most_common()))


def _selection(facts: dict[str, Any], train_on: str) -> str:
    """Return which weights a run kept, and what it was validated on."""
    people = count(_whole(facts.get("validation_people")), "person")
    masks = f", {facts['validation_masks']}" if facts.get("validation_masks") else ""
    pictures = count(_whole(facts.get("validation_pictures")), "picture")
    return f"{facts['kept']}, validated on {pictures} of {people} of {train_on}{masks}"


def _listed(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def _whole(value: object) -> int:
    return value if type(value) is int else 0


def _mixed(commits: Counter[str], versions: Counter[str]) -> str:
    dirty = sum(number for line, number in commits.items() if line.endswith(DIRTY))
    parts = []
    if len({line.removesuffix(DIRTY) for line in commits}) > 1:
        parts.append(f"runs use {len(commits)} code versions")
    if dirty:
        parts.append(f"{count(dirty, 'run')} had uncommitted changes")
    if len(versions) > 1:
        parts.append(f"runs use {len(versions)} sets of package versions")
    return f"{'; '.join(parts)}; see the methods section" if parts else ""


def environment_of_run(run: ReportRun, memory: ReportCache) -> dict[str, Any]:
    """Return what a run recorded in `env.json`; empty if it cannot be read."""
    try:
        return mapping(parse_json(memory.text(f"{run.folder}/env.json") or "{}"))
    except (OSError, ValueError):
        return {}


def _lines(found: Counter[str]) -> tuple[str, ...]:
    if len(found) == 1:
        return tuple(found)
    return tuple(f"{line} ({count(number, 'run')})" for line, number in found.most_common())


def settings(runs: Sequence[ReportRun], memory: ReportCache) -> str:
    """Return a sentence with each setting and its values; empty if no run recorded any.

    One run of each configuration is read. A value that not all share is followed by its count.
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
    listed = "; ".join(f"{key} {_values(counts, read)}" for key, counts in found.items())
    of = f" of {len(first)}" if len(first) > read else ""
    return (f"Settings of {read}{of} configurations (with counts where they differ; the rest is in "
            f"each run's config.yaml): {listed}.{_recipes(recipes)}")


def initial_weights(runs: Sequence[ReportRun], memory: ReportCache) -> tuple[str, ...]:
    """Return file, licence and source of published weights that runs start from, each once."""
    found = dict[str, None]()
    first = {run.config_id: run for run in reversed(runs)}
    for run in list(first.values())[:MOST_READ]:
        tree = _tree(run, memory)
        start = mapping(mapping(tree.get("backbone")).get("pretrained"))
        source = mapping(mapping(tree.get("recipe")).get("init")).get("source")
        if source != "scratch" and (start.get("licence") or start.get("origin")):
            origin = f", {start['origin']}" if start.get("origin") else ""
            found[f"{start.get('file')} (licence: {start.get('licence') or 'not stated'}"
                  f"{origin})"] = None
    return tuple(found)


def _values(counts: Counter[str], read: int) -> str:
    if counts.total() == read and len(counts) == 1:
        return next(iter(counts))
    if len(counts) > MOST_VALUES:
        return f"{len(counts)} values"
    return ", ".join(f"{value} ({number})" for value, number in counts.most_common())


def _recipes(found: dict[str, str]) -> str:
    """Return a description of each recipe, from {description: name}."""
    if not found:
        return ""
    return " Recipes: " + "; ".join(f"{name}: {text}" for text, name in found.items()) + "."


def _recipe(tree: dict[str, Any]) -> str:
    """Return a run's initialization and phases; unset values are in the settings."""
    recipe = mapping(tree.get("recipe"))
    phases = recipe.get("phases")
    parts = [f"{key} {_text(value)}" for key, value in _given(recipe).items()
             if key not in ("phases", "name", "label")]
    parts += [f"phase {_text(_given(mapping(phase)))}"
              for phase in (phases if isinstance(phases, list) else [])]
    return ", ".join(parts)


def _given(tree: dict[str, Any]) -> dict[str, Any]:
    """Return the values that are set in a part of a recipe, recursively."""
    found = {key: _given(value) if isinstance(value, dict) else value
             for key, value in tree.items() if key not in IDLE.get(str(tree.get("name")), ())}
    return {key: value for key, value in found.items() if _set(value)}


def _set(value: Any) -> bool:
    return value not in (None, "", 0, {}, [])  # 0 is False too


def _tree(run: ReportRun, memory: ReportCache) -> dict[str, Any]:
    """Return the configuration of a run; empty if its file cannot be read."""
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
    """Return `value` if it is a mapping, else an empty one (the file is damaged)."""
    return value if isinstance(value, dict) else {}


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} {_text(one)}" for key, one in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_text, value)) + "]"
    return str(value).lower() if isinstance(value, bool) else str(value)
