"""One way from a target population to an interval, for a batch of tables. Knows the model and the mathematics."""
