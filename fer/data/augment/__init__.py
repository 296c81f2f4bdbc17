"""Stateless augmentation of whole batches on their device."""
