"""Recipes: which stages train, how fast, in which phase."""
