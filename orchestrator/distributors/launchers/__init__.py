"""Engines that start a worker on some machine.  Nothing else of what they say is believed."""
