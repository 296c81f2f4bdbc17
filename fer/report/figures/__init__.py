"""The figures of a report, saved as files and embedded in the page."""
