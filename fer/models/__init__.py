"""Architectures by name, the classifier that wraps them, and reading and writing of weights."""
