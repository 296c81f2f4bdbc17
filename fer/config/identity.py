"""The run id: a hash of what determines the numbers of a run, and of nothing else.

In it: every field of the resolved configuration that is not marked `Label`, the content digests of
the training and validation splits, the ids of parents, and `NUMERICS`. Not in it: names, folders,
worker counts, test sets, the GPU count. The text that is hashed is canonical JSON, so the id is the
same on any machine and Python.
"""

import hashlib
import json
from typing import Any

from pydantic import BaseModel

from fer.config.schema import Inputs, Label, Neutral, RunConfig

NUMERICS = 1  # raised when the code's mathematics change
ID_LENGTH = 10


def scientific(model: BaseModel) -> dict[str, Any]:
    """Return the fields of `model` that change the numbers, as plain JSON values."""
    plain: dict[str, Any] = {}
    for name, field in type(model).model_fields.items():
        value = getattr(model, name)
        if any(isinstance(mark, Label) for mark in field.metadata):
            continue
        neutral = next((mark for mark in field.metadata if isinstance(mark, Neutral)), None)
        if neutral is not None and value == neutral.value:
            continue
        plain[name] = _plain(value)
    return plain


def _plain(value: Any) -> Any:
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
    return _hash(_identity(config, inputs, ranks))


def config_id(config: RunConfig, inputs: Inputs, ranks: int = 1) -> str:
    """Return the id without the seed, which the runs of one configuration share.

    `inputs.parents` must hold the parents' configuration ids here.
    """
    identity = _identity(config, inputs, ranks)
    del identity["config"]["seed"]
    return _hash(identity)


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
