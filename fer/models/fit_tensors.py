"""Tensors of a file made to fit a network of another input size, other colours or other classes.

Position embeddings and relative position biases are interpolated as timm does; a stem for grey
pictures is spread over the colours, one for colour is summed; a class layer of other expressions is
mapped to the network's classes. What is copied is decided in `fer.models.weights`.
"""

import math
import re
import warnings
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from fer.config.label_files import DROP
from fer.errors import CallerError, choices

COLOURS = 3
NUMBER = re.compile(r"\d{1,6}", re.ASCII)  # of a logit
MOST_PREFIX = 16  # class and register tokens before those of the patches


def fitted(state: Mapping[str, Tensor], own: Mapping[str, Tensor]
           ) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return `state` with tensors resized where that is possible, and what was done to them.

    Args:
        state: tensors of the file, by the network's names.
        own: those of the network; only their shapes are read.

    Returns:
        all tensors, and for each that changed a text such as `1x197x192 to 1x17x192, interpolated`.
    """
    changed: dict[str, str] = {}
    found = dict(state)
    stem = next((key for key, tensor in own.items()
                 if tensor.ndim == 4 and not is_position(key)), "")
    for key, tensor in state.items():
        if key not in own or own[key].shape == tensor.shape:
            continue
        shape = tuple(own[key].shape)
        if is_bias_table(key):
            new, how = _bias_table(tensor, shape), "interpolated"
        elif is_position(key):
            new, how = _positions(tensor, shape), "interpolated"
        elif key == stem:
            new, how = _stem(tensor, shape), "averaged" if tensor.shape[1] == 1 else "summed"
        else:
            continue
        if new is not None and tuple(new.shape) == shape:
            found[key] = new
            changed[key] = f"{shape_text(tensor)} to {shape_text(new)}, {how}"
    return found, changed


def is_position(key: str) -> bool:
    """Return whether a tensor is a position embedding, by its name."""
    return "pos_embed" in key


def is_bias_table(key: str) -> bool:
    """Return whether a tensor is a table of relative position biases, by its name."""
    return key.endswith("relative_position_bias_table")


def shape_text(tensor: Tensor | None) -> str:
    """Return the shape of a tensor for a message; `missing` for none."""
    return "missing" if tensor is None else "x".join(map(str, tensor.shape)) or "a number"


def _positions(tensor: Tensor, shape: tuple[int, ...]) -> Tensor | None:
    """Return a position embedding for another number of patches, as timm resamples it."""
    from timm.layers import resample_abs_pos_embed, resample_abs_pos_embed_nhwc

    if tensor.ndim != len(shape) or tensor.shape[0] != 1 or tensor.shape[-1] != shape[-1]:
        return None
    if tensor.ndim == 4:
        return resample_abs_pos_embed_nhwc(tensor, list(shape[1:3]))
    if tensor.ndim != 3:
        return None
    if _is_square(shape[1]) and _is_square(tensor.shape[1] - 1):  # no class token here
        tensor = tensor[:, 1:]
    for prefix in range(min(MOST_PREFIX, tensor.shape[1], shape[1])):
        side, old = math.isqrt(shape[1] - prefix), math.isqrt(tensor.shape[1] - prefix)
        if side**2 == shape[1] - prefix and old**2 == tensor.shape[1] - prefix:
            return resample_abs_pos_embed(tensor, [side, side], num_prefix_tokens=prefix)
    return None


def _is_square(number: int) -> bool:
    return number >= 0 and math.isqrt(number) ** 2 == number


def _bias_table(tensor: Tensor, shape: tuple[int, ...]) -> Tensor | None:
    """Return a table of relative position biases for windows of another size (Swin, MaxViT)."""
    from timm.layers import resize_rel_pos_bias_table

    if tensor.ndim != len(shape) or len(shape) not in (2, 3):
        return None
    side = math.isqrt(shape[0]) if len(shape) == 2 else shape[1]
    window = (side + 1) // 2
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the speed of timm's interpolation
            resized: Tensor = resize_rel_pos_bias_table(tensor, (window, window), shape)
    except (ValueError, TypeError, AssertionError, RuntimeError):  # no table of a window
        return None
    return resized


def _stem(tensor: Tensor, shape: tuple[int, ...]) -> Tensor | None:
    """Return a first convolution for colour from one for grey, or the other way round."""
    if tensor.ndim != 4 or tensor.shape[0] != shape[0] or tensor.shape[2:] != shape[2:]:
        return None
    if (tensor.shape[1], shape[1]) == (1, COLOURS):
        return tensor.expand(-1, COLOURS, -1, -1) / COLOURS
    if (tensor.shape[1], shape[1]) == (COLOURS, 1):
        return tensor.sum(1, keepdim=True)
    return None


def with_head_names(state: Mapping[str, Tensor], own: Mapping[str, Tensor], head: frozenset[str],
                    path: str) -> dict[str, Tensor]:
    """Return `state` with the class layer under the network's name.

    A file may have it in a `Sequential`: `classifier.0.weight`, where the network has
    `classifier.weight`.

    Args:
        head: the names of the network's class layer, which is at `path`.
    """
    found = dict(state)
    for key in head - state.keys():
        leaf = key.rpartition(".")[2]
        alike = [name for name, tensor in state.items() if name.startswith(f"{path}.")
                 and name.endswith(f".{leaf}") and name not in own
                 and tensor.shape[1:] == own[key].shape[1:]]
        if len(alike) == 1:
            found[key] = found.pop(alike[0])
    return found


def with_mapped_head(state: Mapping[str, Tensor], own: Mapping[str, Tensor], head: frozenset[str],
                     classes: Sequence[str], labels: Mapping[str, str], given: Sequence[str]
                     ) -> tuple[dict[str, Tensor], str]:
    """Return `state` with the rows of its class layer mapped to `classes`, and a description.

    The new row of a class is the mean of those of its labels, and the logarithm of their number is
    added to its bias: if they are equally likely, its probability is the sum of theirs.

    Args:
        head: the names of the network's class layer.
        labels: label of the file, or its number in the order of the logits -> class or `drop`.
        given: the file's classes in the order of its logits; empty if it names none.

    Raises:
        CallerError: no class layer, one that does not fit, or labels of other classes.
    """
    keys = [key for key in own if key in head and key in state
            and state[key].shape[1:] == own[key].shape[1:] and len(own[key]) == len(classes)]
    rows = {state[key].shape[0] for key in keys}
    if len(rows) != 1:
        raise CallerError("the head cannot be mapped: the file has no class layer of this network "
                          f"({', '.join(sorted(head))})")
    count = rows.pop()
    names = _row_names(count, labels, given)
    groups = {cls: [row for row, name in enumerate(names) if labels[name] == cls]
              for cls in classes}
    if empty := [cls for cls, group in groups.items() if not group]:
        raise CallerError(f"the head cannot be mapped: none of the file's {count} classes is "
                          f"mapped to '{empty[0]}' (recipe.init.labels)")
    found = dict(state)
    for key in keys:
        tensor = state[key].float()
        mean = torch.stack([tensor[group].mean(0) for group in groups.values()])
        if tensor.ndim == 1:  # the bias
            mean += torch.tensor([math.log(len(group)) for group in groups.values()],
                                 device="cpu")
        found[key] = mean
    dropped = sum(labels[name] == DROP for name in names)
    return found, (f"the head's {count} classes to {len(classes)} by the label map"
                   + (f", {dropped} dropped" if dropped else ""))


def _row_names(count: int, labels: Mapping[str, str], given: Sequence[str]) -> list[str]:
    """Return for each logit of the file its key in the label map."""
    folded = {label.casefold(): label for label in labels}
    numbers = sorted(int(label) for label in labels if NUMBER.fullmatch(label))
    wanted = list(given) or [str(numbers[0] + row) for row in range(count)] if numbers or given \
        else []
    if not wanted:
        raise CallerError("the head cannot be mapped: the file names no classes, and the label map "
                          "has no numbers; map 0, 1, … in the order of its logits "
                          "(recipe.init.labels)")
    if len(wanted) != count or (unknown := [one for one in wanted if one.casefold() not in folded]):
        missing = unknown[0] if len(wanted) == count else f"{count} logits"
        raise CallerError(f"the head cannot be mapped: recipe.init.labels has no '{missing}'; it "
                          f"has: {choices(labels)}")
    more = [number for number in numbers if number >= numbers[0] + count
            and labels.get(str(number), DROP) != DROP]
    if more and not given:  # another class may be missing, and those after it shifted
        raise CallerError(f"the head cannot be mapped: recipe.init.labels maps number {more[0]}, "
                          f"but the file has {count} logits")
    return [folded[one.casefold()] for one in wanted]
