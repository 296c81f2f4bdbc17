"""The figures of a report, and how they get into files and into the page."""
