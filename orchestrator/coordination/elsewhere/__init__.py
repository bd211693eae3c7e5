"""A worker: what another machine's watcher offers is run here, under this machine's own settings
and supervisors."""
