"""How many epochs a configuration trains, at most. Pure."""

from fer.config.recipe import Phase
from fer.config.run import RunConfig


def epochs(config: RunConfig, phase: Phase) -> int:
    """Return the epochs that a phase has at most."""
    return phase.epochs or config.train.epochs


def trained_epochs(config: RunConfig) -> int:
    """Return the epochs of all phases, if nothing stops early."""
    return sum(epochs(config, phase) for phase in config.recipe.phases)


def all_epochs(config: RunConfig) -> int:
    """Return the epochs of the whole run if nothing stops early, or the most combinations."""
    combine = config.recipe.combine
    if combine is not None:
        members = len(combine.of)
        return {"wise_ft": combine.points, "greedy_soup": 2 * members - 1}.get(combine.how, 1)
    return trained_epochs(config)
