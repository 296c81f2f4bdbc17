"""The run id: a hash of everything that determines the results of a run, and nothing else.

Included: every field of the resolved configuration that is not marked `Label`, the content digests
of the training and validation splits, the ids of parents, and `NUMERICS`. Excluded: names, folders,
worker counts, test sets, the GPU count. The hash input is canonical JSON, so the id is the same on
any machine and Python version.
"""

import hashlib
import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from pydantic import BaseModel

from fer.config.base import HashedAs, Label, Neutral
from fer.config.run import Inputs, RunConfig
from fer.config.selection import selection_in_id

NUMERICS = 1  # raised when the code's mathematics change
ID_LENGTH = 10
ALL_FOLDS = "folds"  # in `Inputs.digests`: of the pictures of all folds together


def scientific(model: BaseModel) -> dict[str, Any]:
    """Return the fields of `model` that affect results, as plain JSON values."""
    plain: dict[str, Any] = {}
    for name, hashed_as, neutral in _hashed(type(model)):
        value = getattr(model, name)
        if neutral is None or value != neutral.value:
            plain[hashed_as] = _plain(value)
    if isinstance(model, RunConfig) and (selection := selection_in_id(model)) is not None:
        plain["selection"] = selection
    return plain


@lru_cache(maxsize=64)
def _hashed(model: type[BaseModel]) -> tuple[tuple[str, str, Neutral | None], ...]:
    """Return each field not marked `Label`: its name, that in the id, its `Neutral` marker."""
    return tuple(
        (name, next((mark.name for mark in field.metadata if isinstance(mark, HashedAs)), name),
         next((mark for mark in field.metadata if isinstance(mark, Neutral)), None))
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
        ranks: the world size; part of the id only if batch-norm is local to a rank.
    """
    return ids(config, inputs, {}, ranks)[0]


def config_id(config: RunConfig, inputs: Inputs, ranks: int = 1) -> str:
    """Return the id without the seed and the fold, which the runs of one configuration share.

    `inputs.parents` must hold the parents' configuration ids here.
    """
    return ids(config, inputs, inputs.parents, ranks)[1]


def ids(
    config: RunConfig, inputs: Inputs, parents: Mapping[str, str], ranks: int = 1
) -> tuple[str, str]:
    """Return the run id and the configuration id; `parents` are configuration ids."""
    rest = _rest(config, inputs, ranks)
    parts = {name: _JSON.encode(value) for name, value in scientific(config).items()}
    run = _hash(rest, parts, inputs.parents)
    if config.data.folds is not None:  # the folds of one configuration share its id
        plain = scientific(config.data)
        plain["folds"] = {"of": config.data.folds.of}
        parts["data"] = _JSON.encode(plain)
        whole = {name: digest for name, digest in inputs.digests.items()
                 if name in ("weights", ALL_FOLDS, *config.unlabelled)}
        rest = {**rest, "digests": _JSON.encode(whole)}
    del parts["seed"]
    return run, _hash(rest, parts, parents)


_JSON = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def _rest(config: RunConfig, inputs: Inputs, ranks: int) -> dict[str, str]:
    """Return the parts of an id besides the configuration and the parents, as JSON texts."""
    compute = config.compute
    stays_local = compute.batch_norm == "local" or compute.device == "cpu"
    rest = {"numerics": _JSON.encode(NUMERICS), "digests": _JSON.encode(dict(inputs.digests))}
    if ranks > 1 and stays_local:
        rest["ranks"] = _JSON.encode(ranks)
    return rest


def _hash(rest: Mapping[str, str], config: Mapping[str, str], parents: Mapping[str, str]) -> str:
    """Return the id of parts that are JSON texts; most are encoded once and used for two ids."""
    text = _object({**rest, "config": _object(config), "parents": _JSON.encode(dict(parents))})
    return hashlib.sha256(text.encode("ascii")).hexdigest()[:ID_LENGTH]


def _object(parts: Mapping[str, str]) -> str:
    """Return a JSON object with sorted keys from encoded values."""
    return "{" + ",".join(f"{_JSON.encode(key)}:{parts[key]}" for key in sorted(parts)) + "}"
