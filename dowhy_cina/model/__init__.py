"""The network, its closed forms and its checkpoints. Knows the mathematics; no pandas, no DoWhy."""
