"""Models and how they are reached: the registry, verified weights, vLLM under supervision, and the one client."""
