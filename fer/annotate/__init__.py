"""Labelling of pictures by several annotators: a local page, label logs, rounds, merged tables."""
