"""One file per family of backbones; all are imported when an architecture is looked up.

A new backbone needs one decorated function in any of them, and one file in `configs/backbones`.
"""
