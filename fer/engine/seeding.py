"""Torch's generators as functions of numbers: stateless, as everything random here."""

import torch

from fer.data.hashing import key


def seed_torch(seed: int, *numbers: int) -> None:
    """Seed torch on this process from (seed, numbers)."""
    torch.manual_seed(key(seed, *numbers) >> 1)
