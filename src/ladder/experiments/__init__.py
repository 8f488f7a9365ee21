"""Which ladder is better, and how sure are we? Runs of arms and seeds, compared."""
