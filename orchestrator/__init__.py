"""orchestrator: a control plane for coding agents, built from nothing but files."""

__version__ = "0.1.0"
