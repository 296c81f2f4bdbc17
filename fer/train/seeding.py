"""Torch's generators as functions of numbers: stateless, as everything random here."""

import torch

from fer.data.hashing import key


def seed_torch(seed: int, *numbers: int) -> None:
    """Seed torch's generators of the CPU and of GPUs in use from (seed, numbers).

    As `torch.manual_seed`, which takes a millisecond a step where a GPU has not been used yet: it
    then keeps a picture of the stack for every call.
    """
    value = key(seed, *numbers) >> 1
    torch.default_generator.manual_seed(value)
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed_all(value)
