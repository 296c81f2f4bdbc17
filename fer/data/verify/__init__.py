"""Verification of data sets: counts, damage, duplicates, people, pairs."""
