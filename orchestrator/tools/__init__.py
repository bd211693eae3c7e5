"""Tools: how each agent program is invoked and how its end is understood."""
