"""Pure functions named after their equations, and the machine they run on. Knows tensors alone."""
