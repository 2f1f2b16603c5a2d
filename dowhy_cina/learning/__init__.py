"""How models are made and judged: simulators, training, evaluation. Knows the calls and what is below."""
