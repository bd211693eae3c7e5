"""orchestrator: a control plane for coding agents that is nothing but files."""

__version__ = "0.1.0"
