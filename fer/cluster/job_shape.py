"""Shape of a job: the resources it requests, from those of a study and of its runs. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from fer.config.study import Resources, minutes
from fer.study.expand import Run


@dataclass(frozen=True, order=True)
class Shape:
    """Resources of every job of an array.

    Attributes:
        nodes: number of nodes.
        ranks: tasks per node, one per GPU.
        gpus: whether each rank has a GPU.
        threads: cores per rank.
        minutes: requested time limit.
        gpus_a_rank: GPUs per rank; several if one task uses a whole node.
        lanes: runs side by side, each a task of its own; then `ranks` is as many.
        memory: of a node, with unit; empty for the profile's.
    """

    nodes: int
    ranks: int
    gpus: bool
    threads: int
    minutes: int
    gpus_a_rank: int = 1
    lanes: int = 1
    memory: str = ""


def shape_of(run: Run, resources: Resources, limit: str | None) -> Shape:
    """Return the resources of a run's job; `limit` is the profile's maximum time."""
    config, compute = run.config, run.config.compute
    own = resources.own(labels_of(run))
    asked = minutes(own.time or resources.time)
    return Shape(resources.nodes, resources.gpus * resources.runs_at_once, compute.device != "cpu",
                 max(config.compute.threads, own.cpus or 1),
                 min(asked, minutes(limit)) if limit else asked, lanes=resources.runs_at_once,
                 memory=own.memory or "")


def labels_of(run: Run) -> dict[str, str | int]:
    """Return the labels of a run by which resources may differ."""
    config = run.config
    return {"backbone": config.backbone.name, "recipe": config.recipe.name,
            "train_on": config.train_on, "seed": config.seed}


def idle_rules(runs: Sequence[Run], resources: Resources) -> list[str]:
    """Return a line for each rule of `resources.for` that matches no run."""
    labels = [labels_of(run) for run in runs]
    return [f"resources.for: no run of this study matches {rule.match}"
            for rule in resources.rules if not any(rule.matches(one) for one in labels)]
