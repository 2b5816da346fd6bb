"""Pages about runs: reports, comparisons, tables of scores."""
