"""The primitives over Redis 7 or newer (extra ``[redis]``)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from orchestrator import waiting
from orchestrator.distributors.engines.base import (
    ACK_WAIT,
    AT_ONCE,
    BLOB_MOST,
    CARD_MOST,
    CARDS_MOST,
    EVENT_MOST,
    KEPT,
    OFFERED,
    PATIENCE,
    RECORD_MOST,
    Down,
    Offer,
    Record,
    shown,
)

CHUNK = 1 << 19
IDLE = int(ACK_WAIT * 1000)  # in milliseconds, as Redis has it
GROUP = "workers"
HEAD_MOST = 64  # bytes of what is said of a blob
OFFERS, MARKS, RECORDS, EVENTS, BLOBS, NOTES, CARDS = (
    f"orc:{name}" for name in ("offer", "offered", "rec", "event", "blob", "note", "cards")
)
_SET = """
local r = redis.call('HGET', KEYS[1], 'r')
if ARGV[2] == '' then if r then return 0 end r = 0 elseif r ~= ARGV[2] then return 0 end
redis.call('HSET', KEYS[1], 'v', ARGV[1], 'r', r + 1)
redis.call('EXPIRE', KEYS[1], ARGV[3])
return r + 1
"""
# What is too long does not leave the broker: it is looked at before it is read.
_READ = """
if redis.call('HEXISTS', KEYS[1], 'v') == 0 then return false end
local v = ''
if redis.call('HSTRLEN', KEYS[1], 'v') <= tonumber(ARGV[1]) then v = redis.call('HGET', KEYS[1], 'v') end
if redis.call('HSTRLEN', KEYS[1], 'r') > 32 then return {v, ''} end
return {v, redis.call('HGET', KEYS[1], 'r')}
"""
_EVENTS = """
local found, at = {}, ARGV[1]
while #found < tonumber(ARGV[2]) do
  local entry = redis.call('XRANGE', KEYS[1], at, '+', 'COUNT', 1)[1]
  if not entry then break end
  local value, at_value = '', false
  for number, text in ipairs(entry[2]) do
    if number % 2 == 1 then at_value = text == 'v'
    elseif at_value and #text <= tonumber(ARGV[3]) then value = text end
  end
  found[#found + 1] = {entry[1], value}
  at = '(' .. entry[1]
end
return found
"""
_CARDS = """
local found = {}
for _, name in ipairs(redis.call('HRANDFIELD', KEYS[1], ARGV[1])) do
  if #name <= 100 and redis.call('HSTRLEN', KEYS[1], name) <= tonumber(ARGV[2]) then
    found[#found + 1] = name
    found[#found + 1] = redis.call('HGET', KEYS[1], name)
  end
end
return found
"""
_PUSH = """
local old = redis.call('GET', KEYS[2])
if old then redis.call('XDEL', KEYS[1], old) end
local id = redis.call('XADD', KEYS[1], '*', 'd', ARGV[1], 'v', ARGV[2])
redis.call('SET', KEYS[2], id, 'EX', ARGV[3])
redis.call('EXPIRE', KEYS[1], ARGV[3])
"""


class RedisEngine:
    """``url`` is ``redis://`` or ``rediss://`` (TLS); ``consumer`` names this process to the
    broker."""

    def __init__(self, url: str, consumer: str) -> None:
        self._url, self._consumer = url, consumer
        self._client: Any = None
        self._heard: dict[str, Callable[[str], None]] = {}
        self._listener: asyncio.Task[None] | None = None
        self._pubsub: Any = None

    async def _ask(self, work: Callable[[Any], Awaitable[Any]]) -> Any:
        try:
            return await waiting.heeding(work(self._opened()))
        except Down:
            raise
        except Exception as error:  # the client says in many ways that it does not understand
            raise Down(f"{shown(self._url)}: {shown(str(error)) or 'it does not answer'}") from None

    def _opened(self) -> Any:
        """The client; it connects when it is asked something, with few connections, which are used
        again."""
        from redis.asyncio import BlockingConnectionPool, Redis

        if self._client is None:
            pool = BlockingConnectionPool.from_url(
                self._url,
                max_connections=8,
                timeout=PATIENCE * 4,
                socket_timeout=PATIENCE * 2,
                socket_connect_timeout=PATIENCE,
                client_name=self._consumer,
            )
            self._client = Redis(connection_pool=pool)
        return self._client

    async def connect(self) -> None:
        await self._ask(lambda redis: redis.ping())

    async def close(self) -> None:
        if self._listener is not None:
            self._listener.cancel()
            await asyncio.gather(self._listener, return_exceptions=True)
        if self._client is not None:
            await self._client.aclose()
            await self._client.connection_pool.disconnect()

    async def push(self, pool: str, dispatch: str, data: bytes) -> None:
        keys = (f"{OFFERS}:{pool}", f"{MARKS}:{dispatch}")
        await self._ask(lambda redis: redis.eval(_PUSH, 2, *keys, dispatch, data, OFFERED))

    async def pull(self, pool: str) -> Offer | None:
        key = f"{OFFERS}:{pool}"
        return await self._ask(lambda redis: self._pull(redis, key))  # type: ignore[no-any-return]

    async def _pull(self, redis: Any, key: str) -> Offer | None:
        from redis.exceptions import ResponseError

        try:
            found = await redis.xreadgroup(GROUP, self._consumer, {key: ">"}, count=1)
        except ResponseError as error:
            if "NOGROUP" not in str(error):
                raise
            try:
                await redis.xgroup_create(key, GROUP, id="0", mkstream=True)
            except ResponseError as other:
                if "BUSYGROUP" not in str(other):  # else another worker was faster
                    raise
            found = await redis.xreadgroup(GROUP, self._consumer, {key: ">"}, count=1)
        items = _entries(found)
        if not items:
            claimed = await redis.xautoclaim(key, GROUP, self._consumer, IDLE, count=1)
            items = [item for item in claimed[1] if item[1]]
        if not items:
            return None
        entry, fields = items[0]
        dispatch = fields.get(b"d", b"").decode("ascii", "replace")
        return Offer(dispatch, fields.get(b"v", b""), (key, entry))

    async def acknowledge(self, offer: Offer) -> None:
        token: Any = offer.token
        key, entry = token
        await self._ask(lambda redis: redis.xack(key, GROUP, entry))
        await self._ask(lambda redis: redis.xdel(key, entry))

    async def read(self, name: str) -> Record | None:
        key = f"{RECORDS}:{name}"
        found = await self._ask(lambda redis: redis.eval(_READ, 1, key, RECORD_MOST))
        return None if found is None else Record(found[0], _whole(found[1]))

    async def write(self, name: str, value: bytes, revision: int | None) -> int | None:
        known = "" if revision is None else str(revision)
        key = f"{RECORDS}:{name}"
        done = await self._ask(lambda redis: redis.eval(_SET, 1, key, value, known, KEPT))
        return int(done) or None

    async def append(self, dispatch: str, data: bytes) -> None:
        key = f"{EVENTS}:{dispatch}"
        await self._ask(lambda redis: redis.xadd(key, {"v": data}))
        await self._ask(lambda redis: redis.expire(key, KEPT))

    async def events(self, dispatch: str, after: str) -> list[tuple[str, bytes]]:
        start = f"({after}" if after else "-"
        key = f"{EVENTS}:{dispatch}"
        limits = (AT_ONCE, EVENT_MOST)
        found = await self._ask(lambda redis: redis.eval(_EVENTS, 1, key, start, *limits))
        return [(entry.decode(), value) for entry, value in found]

    async def store(self, name: str, data: bytes) -> None:
        if len(data) > BLOB_MOST:
            raise ValueError(f"{name} has more than {BLOB_MOST >> 20} MiB")

        async def put(redis: Any) -> None:
            count = 0
            for count, start in enumerate(range(0, len(data), CHUNK), 1):
                piece = data[start : start + CHUNK]
                await redis.set(f"{BLOBS}:{name}:{count}", piece, ex=KEPT)
            await redis.set(f"{BLOBS}:{name}", f"{count} {len(data)}", ex=KEPT)

        await self._ask(put)

    async def load(self, name: str, most: int) -> bytes | None:
        async def get(redis: Any) -> bytes | None:
            head = (await redis.getrange(f"{BLOBS}:{name}", 0, HEAD_MOST)).split()
            if len(head) != 2 or _whole(head[1]) > most:
                return None
            pieces: list[bytes] = []
            for start in range(0, _whole(head[1]), CHUNK):
                key = f"{BLOBS}:{name}:{start // CHUNK + 1}"
                pieces.append(await redis.getrange(key, 0, CHUNK))
                if len(pieces[-1]) != min(CHUNK, _whole(head[1]) - start):
                    return None
            return b"".join(pieces)

        return await self._ask(get)  # type: ignore[no-any-return]

    async def drop(self, dispatch: str, blobs: list[str]) -> None:
        async def away(redis: Any) -> None:
            keys = [f"{EVENTS}:{dispatch}"]
            for name in blobs:
                head = (await redis.getrange(f"{BLOBS}:{name}", 0, HEAD_MOST) or b"0").split()
                count = min(_whole(head[0]), BLOB_MOST // CHUNK + 1)
                keys += [f"{BLOBS}:{name}"]
                keys += [f"{BLOBS}:{name}:{number}" for number in range(1, count + 1)]
            await redis.delete(*keys)

        await self._ask(away)

    async def notify(self, topic: str, word: str) -> None:
        await self._ask(lambda redis: redis.publish(f"{NOTES}:{topic}", word))

    async def listen(self, topic: str, heard: Callable[[str], None]) -> None:
        self._heard[topic] = heard
        if self._listener is None:
            self._listener = asyncio.get_running_loop().create_task(self._hear())
        elif self._pubsub is not None:
            await self._ask(lambda _: self._pubsub.subscribe(f"{NOTES}:{topic}"))

    async def _hear(self) -> None:
        """One connection for all topics; after an outage it subscribes again."""
        from redis.exceptions import RedisError

        while True:
            try:
                async with self._opened().pubsub(ignore_subscribe_messages=True) as self._pubsub:
                    await self._pubsub.subscribe(*(f"{NOTES}:{topic}" for topic in self._heard))
                    while True:
                        message = await self._pubsub.get_message(timeout=PATIENCE)
                        if message is not None:
                            topic = message["channel"].decode().removeprefix(f"{NOTES}:")
                            self._heard[topic](message["data"].decode("utf-8", "replace"))
            except (RedisError, OSError):
                self._pubsub = None
                await asyncio.sleep(0.5)

    async def show(self, worker: str, card: bytes) -> None:
        if card:
            await self._ask(lambda redis: redis.hset(CARDS, worker, card))
        else:
            await self._ask(lambda redis: redis.hdel(CARDS, worker))

    async def cards(self) -> dict[str, bytes]:
        limits = (CARDS_MOST + 1, CARD_MOST)
        found = await self._ask(lambda redis: redis.eval(_CARDS, 1, CARDS, *limits))
        names = (name.decode("utf-8", "replace") for name in found[::2])
        return dict(zip(names, found[1::2], strict=True))


def _entries(found: Any) -> list[Any]:
    """The entries of an answer to XREADGROUP, in either of its shapes."""
    if isinstance(found, dict):
        return [item for part in found.values() for item in (part[0] if part else [])]
    return list(found[0][1]) if found else []


def _whole(said: object) -> int:
    """A number as the broker has it. Raises `Down` if it is none: every worker may write there."""
    try:
        return int(said)  # type: ignore[call-overload, no-any-return]
    except (TypeError, ValueError):
        raise Down("the broker has something else where a number belongs") from None
