"""What DoWhy sees: the estimator, its registration, bootstraps and refuters. Knows DoWhy, and the calls."""
