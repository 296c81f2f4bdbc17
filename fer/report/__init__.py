"""Tables, figures and a page from the runs of a study on disk. Never imports torch."""
