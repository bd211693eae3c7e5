"""One small module per verb: its options, its help, what it prints. ``main`` finds them by name."""
