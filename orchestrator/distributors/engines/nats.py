"""The primitives over NATS JetStream (extra ``[nats]``)."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Awaitable, Callable
from typing import Any

from orchestrator import waiting
from orchestrator.distributors.engines.base import (
    ACK_WAIT,
    AT_ONCE,
    BLOB_MOST,
    CARD_MOST,
    CARDS_MOST,
    KEPT,
    OFFERED,
    PATIENCE,
    Down,
    Offer,
    Record,
    shown,
)

OFFERS, EVENTS, RECORDS, BLOBS, CARDS = (
    f"orc_{name}" for name in ("offers", "events", "records", "blobs", "cards")
)

# What `push` puts above an offer. Who may make none can still ask the broker for something, and name
# an offer's subject as the place for its answer: such a one has other headers, or none.
PUSHED = {"Nats-Expected-Stream": OFFERS}
CHUNK = 128 << 10  # bytes of a blob that the client sends at once
IDLE = (
    3600.0  # seconds after which the broker forgets a pool that nobody pulls from; its offers stay
)


class NatsEngine:
    """``url`` is ``nats://`` or ``tls://``; ``consumer`` names this process to the broker."""

    def __init__(self, url: str, consumer: str) -> None:
        self._url, self._name = url, consumer
        self._nats: Any = None
        self._js: Any = None
        self._kv: Any = None
        self._cards: Any = None
        self._objects: Any = None
        self._ready = False  # streams and buckets are there
        self._pools: set[str] = set()  # consumers that are there
        self._heard: dict[str, Callable[[str], None]] = {}
        self._lock = asyncio.Lock()
        self._why = ""  # the last error that the client told

    async def _ask(self, work: Callable[[], Awaitable[Any]], size: int = 0) -> Any:
        """``size`` is how many bytes travel: each piece of them may take as long as any answer."""
        try:
            if self._nats is not None and not (self._nats.is_connected or self._nats.is_closed):
                raise TimeoutError  # it is connecting again by itself
            if not self._ready:
                await self._prepare()
            # no task of its own, whose error nobody would hear
            async with asyncio.timeout(PATIENCE * (6 + size / CHUNK)):
                return await waiting.heeding(work())
        except Exception as error:  # the client says in many ways that it does not understand
            self._ready = False  # a broker that lost its data has no streams and consumers either
            self._pools.clear()
            why = self._why or str(error) or "it does not answer"
            raise Down(f"{shown(self._url)}: {shown(why)}") from None

    async def connect(self) -> None:
        self._ready = False
        await self._ask(_nothing)

    async def _prepare(self) -> None:
        async with self._lock:
            if not self._ready:
                await self._open()
                await self._create()
                self._ready = True

    async def _open(self) -> None:
        from nats.aio.client import Client

        if self._nats is not None and not self._nats.is_closed:
            return

        failed = asyncio.Event()

        async def told(error: Exception) -> None:
            # A broker that refuses cuts the line, now and then before its reason has come.
            if not isinstance(error, ConnectionResetError):
                self._why = str(error) or type(error).__name__
                failed.set()

        async def again() -> None:
            self._why = ""

        client = Client()
        # Without an end to its attempts it would never say that the first one failed.
        first = asyncio.ensure_future(
            client.connect(
                self._url,
                name=self._name,
                max_reconnect_attempts=-1,
                reconnect_time_wait=1,
                connect_timeout=int(PATIENCE),
                error_cb=told,
                reconnected_cb=again,
            )
        )
        failure = asyncio.ensure_future(failed.wait())
        try:
            await asyncio.wait((first, failure), timeout=PATIENCE, return_when="FIRST_COMPLETED")
            if not first.done():
                raise TimeoutError
            await first
        except BaseException:
            first.cancel()
            await asyncio.gather(first, return_exceptions=True)
            await client.close()
            raise
        finally:
            failure.cancel()
        self._nats, self._why = client, ""
        for topic, heard in self._heard.items():
            await self._subscribe(topic, heard)

    async def _create(self) -> None:
        """Have streams and buckets; who may not create them finds them there."""
        from nats.js.api import (
            DiscardPolicy,
            KeyValueConfig,
            ObjectStoreConfig,
            RetentionPolicy,
            StreamConfig,
        )
        from nats.js.errors import NotFoundError

        self._js = js = self._nats.jetstream(timeout=PATIENCE)
        offers = StreamConfig(
            name=OFFERS,
            subjects=["orc.offer.>"],
            retention=RetentionPolicy.WORK_QUEUE,
            max_msgs_per_subject=1,
            discard=DiscardPolicy.OLD,
            max_age=OFFERED,
        )
        events = StreamConfig(
            name=EVENTS, subjects=["orc.event.>"], max_age=KEPT, allow_direct=True
        )
        for stream in (offers, events):
            try:
                await js.stream_info(stream.name)
            except NotFoundError:
                await js.add_stream(stream)

        async def bucket(name: str) -> Any:
            config = KeyValueConfig(bucket=name, ttl=KEPT)
            return await _there(lambda: js.key_value(name), lambda: js.create_key_value(config))

        self._kv, self._cards = await bucket(RECORDS), await bucket(CARDS)
        self._objects = await _there(
            lambda: js.object_store(BLOBS),
            lambda: js.create_object_store(BLOBS, ObjectStoreConfig(bucket=BLOBS, ttl=KEPT)),
        )

    async def close(self) -> None:
        if self._nats is not None:
            await self._nats.close()

    async def push(self, pool: str, dispatch: str, data: bytes) -> None:
        subject = f"orc.offer.{_short(pool)}.{dispatch}"
        await self._ask(lambda: self._js.publish(subject, data, stream=OFFERS, timeout=PATIENCE))

    async def pull(self, pool: str) -> Offer | None:
        return await self._ask(lambda: self._pull(_short(pool)))  # type: ignore[no-any-return]

    async def _pull(self, pool: str) -> Offer | None:
        from nats.js.api import AckPolicy, ConsumerConfig

        if pool not in self._pools:
            config = ConsumerConfig(
                durable_name=f"pool-{pool}",
                filter_subject=f"orc.offer.{pool}.*",
                ack_policy=AckPolicy.EXPLICIT,
                ack_wait=ACK_WAIT,
                inactive_threshold=IDLE,
            )
            await self._js.add_consumer(OFFERS, config)
            self._pools.add(pool)
        subject = f"$JS.API.CONSUMER.MSG.NEXT.{OFFERS}.pool-{pool}"
        asked = json.dumps({"batch": 1, "no_wait": True}).encode()
        for _ in range(AT_ONCE):
            message = await self._nats.request(subject, asked, timeout=PATIENCE, old_style=True)
            headers = message.headers or {}
            if headers.get("Status") or not message.reply:
                break
            if headers == PUSHED:
                return Offer(message.subject.rpartition(".")[2], message.data, message)
            await message.ack_sync()
        return None

    async def acknowledge(self, offer: Offer) -> None:
        message: Any = offer.token
        await self._ask(message.ack_sync)

    async def read(self, name: str) -> Record | None:
        from nats.js.errors import KeyNotFoundError

        async def get() -> Record | None:
            try:
                entry = await self._kv.get(name)
            except KeyNotFoundError:
                return None
            return Record(entry.value or b"", entry.revision)

        return await self._ask(get)  # type: ignore[no-any-return]

    async def write(self, name: str, value: bytes, revision: int | None) -> int | None:
        from nats.js.errors import APIError, KeyWrongLastSequenceError

        async def put() -> int | None:
            try:
                if revision is None:
                    return int(await self._kv.create(name, value))
                return int(await self._kv.update(name, value, last=revision))
            except KeyWrongLastSequenceError:
                return None
            except APIError as error:
                if error.err_code == 10071:  # wrong last sequence
                    return None
                raise

        return await self._ask(put)  # type: ignore[no-any-return]

    async def append(self, dispatch: str, data: bytes) -> None:
        subject = f"orc.event.{dispatch}"
        await self._ask(lambda: self._js.publish(subject, data, stream=EVENTS, timeout=PATIENCE))

    async def events(self, dispatch: str, after: str) -> list[tuple[str, bytes]]:
        from nats.js.errors import NotFoundError

        async def some() -> list[tuple[str, bytes]]:
            found: list[tuple[str, bytes]] = []
            at = int(after or 0)
            while len(found) < AT_ONCE:
                try:
                    message = await self._js.get_msg(
                        EVENTS, seq=at + 1, subject=f"orc.event.{dispatch}", direct=True, next=True
                    )
                except NotFoundError:
                    break
                at = message.seq
                found.append((str(at), message.data or b""))
            return found

        return await self._ask(some)  # type: ignore[no-any-return]

    async def store(self, name: str, data: bytes) -> None:
        if len(data) > BLOB_MOST:
            raise ValueError(f"{name} has more than {BLOB_MOST >> 20} MiB")
        await self._ask(lambda: self._objects.put(name, data), len(data))

    async def load(self, name: str, most: int) -> bytes | None:
        from nats.js.errors import NotFoundError

        async def get() -> bytes | None:
            try:
                info = await self._objects.get_info(name)
            except NotFoundError:
                return None
            size = int(info.size or 0)
            return None if size > most else await self._pieces(str(info.nuid), size)

        return await self._ask(get, most)  # type: ignore[no-any-return]

    async def _pieces(self, mark: str, size: int) -> bytes | None:
        """A blob of so many bytes. The client's own `get` believes no size: it reads all that is
        there."""
        found = bytearray()
        if size:
            subject = f"$O.{BLOBS}.C.{mark}"
            pieces = await self._js.subscribe(subject, ordered_consumer=True)
            try:
                while len(found) < size:
                    found += (await pieces.next_msg(PATIENCE)).data
            finally:
                await pieces.unsubscribe()
        return bytes(found) if len(found) == size else None

    async def drop(self, dispatch: str, blobs: list[str]) -> None:
        from nats.js.errors import NotFoundError

        async def away() -> None:
            await self._js.purge_stream(EVENTS, subject=f"orc.event.{dispatch}")
            for name in blobs:
                try:
                    await self._objects.delete(name)
                except NotFoundError:
                    continue

        await self._ask(away)

    async def notify(self, topic: str, word: str) -> None:
        await self._ask(lambda: self._nats.publish(f"orc.note.{topic}", word.encode()))

    async def listen(self, topic: str, heard: Callable[[str], None]) -> None:
        await self._ask(_nothing)
        self._heard[topic] = heard
        await self._ask(lambda: self._subscribe(topic, heard))

    async def _subscribe(self, topic: str, heard: Callable[[str], None]) -> None:
        async def called(message: Any) -> None:
            heard(message.data.decode("utf-8", "replace"))

        await self._nats.subscribe(f"orc.note.{topic}", cb=called)

    async def show(self, worker: str, card: bytes) -> None:
        if card:
            await self._ask(lambda: self._cards.put(worker, card))
        else:  # the client's own `purge` leaves a mark, which everybody reads for a week
            subject = f"$KV.{CARDS}.{worker}"
            await self._ask(lambda: self._js.purge_stream(f"KV_{CARDS}", subject=subject))

    async def cards(self) -> dict[str, bytes]:
        return await self._ask(self._every_card)  # type: ignore[no-any-return]

    async def _every_card(self) -> dict[str, bytes]:
        """The client's own `watchall` may end before the first: it asks how many are still to come,
        and the broker may have sent them all, and not one of them be here yet."""
        from nats.js.api import DeliverPolicy

        found: dict[str, bytes] = {}
        if not (await self._cards.status()).values:
            return found
        subject, newest = f"$KV.{CARDS}.>", DeliverPolicy.LAST_PER_SUBJECT
        cards = await self._js.subscribe(subject, ordered_consumer=True, deliver_policy=newest)
        try:
            left = 1
            while left and len(found) <= CARDS_MOST:
                card = await cards.next_msg(PATIENCE)
                left = card.metadata.num_pending
                if not card.headers and len(card.data) <= CARD_MOST:  # one taken away has some
                    found[card.subject.removeprefix(subject[:-1])] = card.data
        finally:
            await cards.unsubscribe()
        return found


async def _nothing() -> None:
    """To ask nothing more than whether it is there."""


async def _there(find: Callable[[], Awaitable[Any]], make: Callable[[], Awaitable[Any]]) -> Any:
    from nats.js.errors import NotFoundError

    try:
        return await find()
    except NotFoundError:
        return await make()


def _short(pool: str) -> str:
    """A pool as one word of a subject: labels may have dots in them."""
    return hashlib.sha256(pool.encode()).hexdigest()[:16]
