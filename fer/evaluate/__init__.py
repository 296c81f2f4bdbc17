"""Metrics with intervals from predictions on disk. Never imports torch or the engine."""
