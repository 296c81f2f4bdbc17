"""Data sets in: zips as downloaded, folders, tables, pixels in a CSV, into the layout."""
