"""The panels of the report: each a function of the run's contents, and a partial of its own beside it."""
