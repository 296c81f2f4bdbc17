"""Bundles: the numbers of a study in one file, and their comparison with another site's."""
