"""The run id: a hash of what determines the numbers of a run, and of nothing else.

In it: every field of the resolved configuration that is not marked `Label`, the content digests of
the training and validation splits, the ids of parents, and `NUMERICS`. Not in it: names, folders,
worker counts, test sets, the GPU count. The text that is hashed is canonical JSON, so the id is the
same on any machine and Python.
"""

import hashlib
import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from pydantic import BaseModel

from fer.config.marks import Label, Neutral
from fer.config.schema import Inputs, RunConfig

NUMERICS = 1  # raised when the code's mathematics change
ID_LENGTH = 10


def scientific(model: BaseModel) -> dict[str, Any]:
    """Return the fields of `model` that change the numbers, as plain JSON values."""
    plain: dict[str, Any] = {}
    for name, neutral in _hashed(type(model)):
        value = getattr(model, name)
        if neutral is None or value != neutral.value:
            plain[name] = _plain(value)
    return plain


@lru_cache(maxsize=64)
def _hashed(model: type[BaseModel]) -> tuple[tuple[str, Neutral | None], ...]:
    """Return the names of the fields that are no labels, each with its mark of a neutral value."""
    return tuple(
        (name, next((mark for mark in field.metadata if isinstance(mark, Neutral)), None))
        for name, field in model.model_fields.items()
        if not any(isinstance(mark, Label) for mark in field.metadata))


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, str | int | float):  # most values
        return value
    if isinstance(value, BaseModel):
        return scientific(value)
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    return value


def run_id(config: RunConfig, inputs: Inputs, ranks: int = 1) -> str:
    """Return the id of a run (hexadecimal, 10 characters).

    Args:
        config: the resolved configuration.
        inputs: digests of its training and validation splits and weights; ids of its parents.
        ranks: the world size; it joins the id only where batch-norm stays local to a rank.
    """
    return ids(config, inputs, {}, ranks)[0]


def config_id(config: RunConfig, inputs: Inputs, ranks: int = 1) -> str:
    """Return the id without the seed, which the runs of one configuration share.

    `inputs.parents` must hold the parents' configuration ids here.
    """
    return ids(config, inputs, inputs.parents, ranks)[1]


def ids(
    config: RunConfig, inputs: Inputs, parents: Mapping[str, str], ranks: int = 1
) -> tuple[str, str]:
    """Return the run id and the configuration id; `parents` are those of the latter."""
    identity = _identity(config, inputs, ranks)
    run = _hash(identity)
    del identity["config"]["seed"]
    return run, _hash({**identity, "parents": dict(parents)})


def _identity(config: RunConfig, inputs: Inputs, ranks: int) -> dict[str, Any]:
    compute = config.compute
    stays_local = compute.batch_norm == "local" or compute.device == "cpu"
    identity: dict[str, Any] = {
        "numerics": NUMERICS,
        "config": scientific(config),
        "digests": dict(inputs.digests),
        "parents": dict(inputs.parents),
    }
    if ranks > 1 and stays_local:
        identity["ranks"] = ranks
    return identity


def _hash(identity: dict[str, Any]) -> str:
    text = json.dumps(identity, sort_keys=True, separators=(",", ":"), ensure_ascii=True,
                      allow_nan=False)
    return hashlib.sha256(text.encode("ascii")).hexdigest()[:ID_LENGTH]
