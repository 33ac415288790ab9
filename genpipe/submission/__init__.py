"""Sending a recipe to a cluster as a Ray job: what goes along, and the talk with the cluster's dashboard."""
