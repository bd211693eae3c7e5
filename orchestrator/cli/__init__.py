"""The command line: one small module per verb."""

from orchestrator import lazily

lazily.install()  # before anything else of ours is imported
