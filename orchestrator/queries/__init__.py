"""Read-only answers. Nothing here locks, writes, or needs a watcher; it opens files and lists
folders."""
