"""Synthetic masks for any aligned face: drawn by geometry, to disk or onto batches in training."""
