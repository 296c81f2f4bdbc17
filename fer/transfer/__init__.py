"""Transfer-learning recipes: which stages are trained, how fast, and in which phase."""
