"""Faces in pictures: detection, and alignment into a frame."""
