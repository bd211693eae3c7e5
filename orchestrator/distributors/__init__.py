"""Where attempts are executed: the strategy, its default, and how others plug in."""
