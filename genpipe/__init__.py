"""genpipe: one recipe takes data to a trained, sampled, evaluated and tracked generative model of any family."""
