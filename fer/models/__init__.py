"""Architectures by name, the classifier around them, and weights in and out."""
