"""Which broker an address means, and whether its client is installed: without importing it."""

from __future__ import annotations

from importlib.util import find_spec

from orchestrator.distributors.engines.base import Engine, has_password, unreadable
from orchestrator.distributors.engines.folder import SCHEME, FolderEngine, folder_of
from orchestrator.distributors.engines.nats import NatsEngine
from orchestrator.distributors.engines.redis import RedisEngine
from orchestrator.errors import adding

SCHEMES = {"nats": "nats", "tls": "nats", "redis": "redis", "rediss": "redis"}


def lacking(url: str) -> str:
    """What is missing for a broker at this address, with the way out; empty if nothing is."""
    scheme, found, _ = url.partition("://")
    if scheme == SCHEME:
        return "" if folder_of(url) else f"'{url[:80]}' names no folder: folder:///shared/x"
    client = SCHEMES.get(scheme) if found else None
    if client is None:
        known = ", ".join(f"{name}://" for name in (*SCHEMES, SCHEME))
        named = "what is named" if has_password(url) else f"'{url[:80]}'"
        return f"{named} is not a broker's address; they begin with {known}"
    if find_spec(client) is None:
        return f"the client for {scheme}:// is not installed: {adding(client)}"
    return unreadable(url)


def engine(url: str, consumer: str) -> Engine:
    """The broker at this address; `lacking` has said nothing."""
    if folder_of(url):
        return FolderEngine(url, consumer)
    if SCHEMES[url.partition("://")[0]] == "nats":
        return NatsEngine(url, consumer)
    return RedisEngine(url, consumer)
