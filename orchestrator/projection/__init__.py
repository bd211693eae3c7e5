"""Rebuildable views of the event log.  Nothing here is true; the log is."""
