"""Trained models on new pictures: loading, prediction, tables, and folders to publish."""
