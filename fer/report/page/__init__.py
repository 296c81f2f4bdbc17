"""The report as one HTML file, with embedded images."""
