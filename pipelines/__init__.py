"""The stages, the graphs made of them and the recipes that ship with genpipe; a plugin folder each."""
