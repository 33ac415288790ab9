"""Running a plan: the driver, what it runs steps on, and the worker's side of a step."""
