"""Which runs are linear probes of one frozen body, that one process trains together. Pure."""

import json

from fer.config.run import RunConfig
from fer.config.run_id import scientific


def kind_of(config: RunConfig) -> str | None:
    """Return what runs that can train together have in common; None for one that trains alone.

    They differ in learning rate, weight decay and, where they start from one body, in the seed.
    """
    recipe, inputs = config.recipe, config.inputs
    if inputs is None or len(recipe.phases) != 1 or recipe.phases[0].views is None:
        return None
    if config.compute.compile or recipe.phases[0].average is not None:
        return None
    own = scientific(config)
    own["optim"] = {**own["optim"], "lr": None, "weight_decay": None}
    if recipe.init.source != "scratch":  # else the body is the seed's
        own["seed"] = None
    return json.dumps([own, inputs.model_dump(mode="json")], sort_keys=True)
