"""Preflight: what is missing, wrong or slow, and the command that mends it."""
