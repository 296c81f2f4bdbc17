"""Import of data sets (zips, folders, tables, pixels in a CSV) into the project's layout."""
