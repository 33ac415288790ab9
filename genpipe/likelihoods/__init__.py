"""Estimators of log p(x) for models that have no closed form: what a family's `estimate_log_density` calls."""
