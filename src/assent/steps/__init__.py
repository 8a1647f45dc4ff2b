"""One file a kind of step, and the pipeline that runs a recipe."""
