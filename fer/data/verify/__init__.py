"""Whether data sets are what they should be: counts, damage, duplicates, people, pairs."""
