"""Families beside the packages that people train the same models with."""
