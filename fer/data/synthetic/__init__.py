"""Drawn faces: the data that the project ships with, drawings that say nothing about people."""
