"""Compatibility of runs: averaging weights needs a shared start, probes share one frozen body.

Averages of the weights of unrelated networks do not work.
"""

import json
from collections.abc import Sequence

from fer.config.run import RunConfig
from fer.config.run_id import scientific
from fer.config.selection import select_of
from fer.errors import CallerError


def require_shared_start(config: RunConfig, members: Sequence[RunConfig], place: str) -> None:
    """Raise a CallerError if runs cannot be combined as the recipe of `config` requires."""
    combine = config.recipe.combine
    assert combine is not None
    for member in members:
        if member.backbone != config.backbone or member.data.classes != config.data.classes:
            raise CallerError(f"{place}: recipe.combine.of: all must be of backbone "
                              f"{config.backbone.name} and the same classes")
    if combine.how in ("temperature", "batch_norm"):
        return
    if combine.how == "wise_ft" and _whole(members[0]) == _whole(members[1].parents.get("init")):
        return  # from a run to its fine-tuned version
    starts = [_start(member) for member in members]
    for member, start in zip(members, starts, strict=True):
        if start is None:
            raise CallerError(f"{place}: recipe.combine.of: {member.recipe.name} starts from "
                              "random weights; only weights with a shared start are averaged")
    if len(set(starts)) > 1:
        names = " and ".join(dict.fromkeys(member.recipe.name for member in members))
        raise CallerError(f"{place}: recipe.combine.of: {names} do not start from the same "
                          "weights, so their average would not work")


def refuse_other_pictures(config: RunConfig, teacher: RunConfig, place: str) -> None:
    """Raise a CallerError if a teacher has another input size or other classes."""
    if teacher.data.classes != config.data.classes:
        raise CallerError(f"{place}: recipe.teacher: its classes are "
                          f"{', '.join(teacher.data.classes)}; they must be the student's")
    if teacher.backbone.input_size != config.backbone.input_size:
        raise CallerError(f"{place}: recipe.teacher: its pictures have "
                          f"{teacher.backbone.input_size} pixels a side, the student's "
                          f"{config.backbone.input_size}; set backbone.input_size of one of them")


def _start(member: RunConfig) -> str | None:
    """Return the initial weights of a run, including its head; None if they are random."""
    init, pretrained = member.recipe.init, member.backbone.pretrained
    if init.source == "scratch":
        return None
    head = (init.labels or None) if init.keep_head else member.seed
    parent = member.parents.get("init")
    body = _whole(parent) if parent else pretrained.file if pretrained else None
    return json.dumps([body, head], sort_keys=True)


def _whole(config: RunConfig | None) -> object:
    if config is None:
        return None
    parents = {role: _whole(parent) for role, parent in config.parents.items()}
    return [scientific(config), config.train_on, parents]


def probe_kind(config: RunConfig) -> str | None:
    """Return the key shared by runs that can train together; None for one that trains alone.

    Such runs differ in learning rate, weight decay and, if they start from one body, in the seed.
    """
    recipe, inputs = config.recipe, config.inputs
    if inputs is None or len(recipe.phases) != 1 or recipe.phases[0].views is None:
        return None
    if config.compute.compile or recipe.phases[0].average is not None:
        return None
    if select_of(config) == "average":
        return None
    own = scientific(config)
    own["optim"] = {**own["optim"], "lr": None, "weight_decay": None}
    if recipe.init.source != "scratch":  # otherwise the body depends on the seed
        own["seed"] = None
    return json.dumps([own, inputs.model_dump(mode="json")], sort_keys=True)
