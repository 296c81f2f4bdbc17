"""Damaged files: how they are damaged (`damage`), and what reads each kind (`doors`)."""
