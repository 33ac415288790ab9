"""Sweeps: a recipe with ranges for some of its values, tried out as many runs."""
