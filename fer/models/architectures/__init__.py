"""One file a family of backbones. Every file here is imported when an architecture is looked up,
so a new backbone is one decorated function in any of them, and one file in `configs/backbones`.
"""
