"""From predictions on disk to numbers with intervals. Never imports torch or the engine."""
