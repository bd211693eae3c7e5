"""The one process that coordinates: it watches, chooses, starts and finishes."""
