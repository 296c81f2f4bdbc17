"""What a study has on disk: results, predictions, learning curves."""
