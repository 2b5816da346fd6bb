"""What a person reads about runs: reports, comparisons, tables of scores."""
