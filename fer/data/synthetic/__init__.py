"""Drawn faces, the project's default data; they are no evidence about people."""
