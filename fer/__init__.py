"""Facial expression recognition under masks: training, evaluation and the gap."""
