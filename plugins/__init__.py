"""The model families, data sets, metrics and feature extractors that ship with genpipe; a plugin folder each."""
