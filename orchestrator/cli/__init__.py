"""The command line: one small module per verb."""

from orchestrator import lazily

lazily.install()  # before anything else of ours is imported, and of click

from orchestrator.cli import spared  # noqa: E402

spared.spare()
