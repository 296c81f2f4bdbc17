"""The state dict in the content of a checkpoint: under which key, and with which prefix.

Training code wraps a state dict in other dictionaries (`{"model": …, "optimizer": …}`), keeps
several (of an average, of teacher and student), and prefixes its keys (`module.`, `_orig_mod.`,
`model.`). What fits the network decides.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from fer.models.fit_tensors import is_bias_table, is_position, shape_text
from fer.models.inert_pickle import Inert

# in a tie: as timm, the average of the weights first; as DINO, the teacher
PREFERRED = ("state_dict_ema", "model_ema", "ema_state_dict", "ema", "teacher", "net", "state_dict",
             "model_state_dict", "model", "network", "backbone", "encoder", "student")
DEEPEST = 5  # dictionaries within dictionaries
MOST_VISITED = 100_000
MOST_PARTS = 4  # of a prefix, `model.student.encoder.`
TORCHSCRIPT = "__torch__."  # its modules keep tensors and children as attributes
WRAPPERS = ("module.", "_orig_mod.")  # of DataParallel and DistributedDataParallel; torch.compile


@dataclass(frozen=True)
class Found:
    """A state dict: its tensors, the keys that led to it, and the prefix that was removed.

    Attributes:
        translated: whether timm gave the tensors the network's names.
        resized: tensors whose size timm changed on the way.
    """

    tensors: dict[str, Tensor]
    under: str = ""
    prefix: str = ""
    translated: bool = False
    resized: tuple[str, ...] = ()

    def __str__(self) -> str:
        parts = [f"under '{self.under}'" if self.under else "",
                 f"without the prefix '{self.prefix}'" if self.prefix else "",
                 "with names translated by timm" if self.translated else ""]
        return ", ".join(filter(None, parts))


Translate = Callable[[Mapping[str, Tensor]], dict[str, Tensor] | None]
"""Weights of any project in the form of the network; None if it does not know them."""


def find_state_dict(content: object, wanted: Mapping[str, Sequence[int]] | None = None,
                    translate: Translate | None = None) -> Found | None:
    """Return the state dict that fits best; None if there are no named tensors.

    Args:
        content: of a checkpoint; objects are `Inert`.
        wanted: shapes of the network's tensors by name; None takes the preferred state dict, and
            removes only the prefixes of wrappers.
        translate: tried on every state dict, and on its best part.
    """
    found = sorted(_candidates(content), key=_preference)
    if not found:
        return None
    found = [_unwrapped(one) for one in found]
    if wanted is None:
        most = max(len(one.tensors) for one in found)
        return next(one for one in found if 2 * len(one.tensors) >= most)
    parts = [_best_part(one, wanted) for one in found]
    if translate is not None:
        parts += [_best_part(other, wanted) for one in (*found, *(part for _, part in parts))
                  if (other := _translated(one, translate)) is not None]
    return max(parts, key=lambda pair: pair[0])[1]


def _translated(one: Found, translate: Translate) -> Found | None:
    tensors = translate(one.tensors)
    if tensors is None:
        return None
    sizes = {tensor.numel() for tensor in one.tensors.values()}
    resized = tuple(
        f"{key} to {shape_text(tensor)}, interpolated" for key, tensor in tensors.items()
        if (is_position(key) or is_bias_table(key)) and tensor.numel() not in sizes)
    return replace(one, tensors=tensors, translated=tensors.keys() != one.tensors.keys(),
                   resized=resized)


def _preference(one: Found) -> tuple[int, int]:
    words = one.under.split(".")
    ranks = [PREFERRED.index(word) for word in words if word in PREFERRED]
    return min(ranks, default=len(PREFERRED) if one.under else -1), len(words)


def _candidates(content: object) -> Iterator[Found]:
    """Yield every dictionary of tensors, and the state dict of every module."""
    waiting: list[tuple[object, str, int]] = [(content, "", 0)]
    seen: set[int] = set()
    while waiting and len(seen) < MOST_VISITED:
        one, under, depth = waiting.pop()
        if id(one) in seen or depth > DEEPEST:
            continue
        seen.add(id(one))
        if isinstance(one, Inert):
            tensors = dict(_of_module(one, "", 0, set()))
            if tensors:
                yield Found(tensors, under)
                continue
            one = one.state
        if isinstance(one, Mapping):
            tensors = {key: value for key, value in one.items()
                       if isinstance(key, str) and isinstance(value, Tensor)}
            if tensors:
                yield Found(tensors, under)
            waiting += [(value, f"{under}.{key}" if under else key, depth + 1)
                        for key, value in one.items()
                        if isinstance(key, str) and isinstance(value, Mapping | Inert)]


def _of_module(module: object, prefix: str, depth: int, above: set[int]
               ) -> Iterator[tuple[str, Tensor]]:
    """Yield name and tensor of the parameters and buffers of a stand-in for a module."""
    state = module.state if isinstance(module, Inert) else None
    if not isinstance(state, Mapping) or id(module) in above or depth > 100:
        return
    if isinstance(module, Inert) and module.named.startswith(TORCHSCRIPT):
        for name, one in state.items():
            if isinstance(one, Tensor):
                yield prefix + str(name), one
            elif isinstance(one, Inert):
                yield from _of_module(one, f"{prefix}{name}.", depth + 1, {*above, id(module)})
        return
    for kind in ("_parameters", "_buffers"):
        own = state.get(kind)
        for name, tensor in own.items() if isinstance(own, Mapping) else ():
            if isinstance(name, str) and isinstance(tensor, Tensor):
                yield prefix + name, tensor
    below = state.get("_modules")
    for name, child in below.items() if isinstance(below, Mapping) else ():
        if isinstance(name, str):
            yield from _of_module(child, f"{prefix}{name}.", depth + 1, {*above, id(module)})


def _unwrapped(one: Found) -> Found:
    """Return a state dict without the prefixes of wrappers, which single keys may have."""
    tensors, removed = dict[str, Tensor](), ""
    for name, tensor in one.tensors.items():
        key = name
        while prefix := next(filter(key.startswith, WRAPPERS), ""):
            key = key.removeprefix(prefix)
        tensors[key] = tensor
        removed = max(removed, name.removesuffix(key), key=len)
    return Found(tensors, one.under, removed)


def _best_part(one: Found, wanted: Mapping[str, Sequence[int]]) -> tuple[int, Found]:
    """Return how many tensors fit below the best prefix, and that part of a state dict."""
    fitting = Counter[str]()
    for key, tensor in one.tensors.items():
        parts = key.split(".")
        for count in range(min(len(parts), MOST_PARTS + 1)):
            rest = ".".join(parts[count:])
            if rest in wanted and tuple(tensor.shape) == tuple(wanted[rest]):
                fitting[".".join(parts[:count])] += 1
    best = max(fitting, key=lambda prefix: (fitting[prefix], -len(prefix)), default="")
    if not best:
        return fitting[""], one
    prefix = f"{best}."
    inside = {key.removeprefix(prefix): tensor for key, tensor in one.tensors.items()
              if key.startswith(prefix)}
    return fitting[best], replace(one, tensors=inside, prefix=one.prefix + prefix)


def detached(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return plain tensors without gradients, in the order of the file."""
    with torch.no_grad():
        return {key: tensor.detach() for key, tensor in tensors.items()}
