"""From the runs of a study on disk to tables, figures and a page. Never imports torch."""
