"""Synthetic masks for aligned faces, drawn geometrically, on disk or on training batches."""
