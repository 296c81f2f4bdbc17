"""Preflight checks: what is missing, wrong or slow, and the command that fixes it."""
