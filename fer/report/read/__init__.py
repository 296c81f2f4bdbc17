"""Reading a study from disk: results, predictions, learning curves."""
