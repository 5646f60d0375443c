"""Events back from RabbitMQ: from a group's queue, a queue of one's own, or the stream of an exchange.

A queue hands a message to one consumer of the group and to another when that one dies, at once; `claim_idle` has
nothing to do here. A quorum queue counts what comes back, of all that a consumer held; so there one that begins asks
for a single message at a time until it has one that is new, and what has ended several consumers by itself is a dead
letter then.
What is handled is remembered by message id, so that what a sink sent twice (it could not know)
is handled once; the memory is this consumer's own and bounded. Dead letters go to the queue `QUEUE.dead`, with
`reason` and `error` in their headers. Next: `headrace.consumer`, which picks a consumer by URL.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from headrace import errors
from headrace.consumer.base import Consumer, Message

if TYPE_CHECKING:
    from headrace.core import amqp
    from headrace.protocol.amqp import Delivery

EXCHANGE = "headrace.events"
_WAIT_S = 0.25  # how long a read waits: a stop is heard at once, the rest of the loop within it
_KNOWN = 200_000  # ids of handled messages that are remembered


class RabbitMQConsumer(Consumer):
    """Reads events from RabbitMQ.

    Args:
        url: as for `RabbitMQSink`.
        exchange: the sink's.
        routing_key: which events, a pattern of AMQP topics (`token`, `tool-call.*`, `#`); for a group, all that is
            ever bound to its queue counts.
        stream: read the exchange's stream, which keeps what was read: `start` may be `beginning`, `end`, an offset
            (a number) or a `datetime`. Every consumer sees all of it; `group` is not used.
        quorum: the group's queue is a quorum queue (so for the sink as well): it counts what comes back, so that
            an event that ends each consumer is a dead letter at last; but what comes back may change its order.
        prefetch_count: messages handed out and not yet acknowledged.
        options: of `Consumer`; `batch_size` is 2,000 here. `group=None` without a stream reads what comes from
            now on.

    Raises:
        errors.MissingExtra: the extra `rabbitmq` is not installed.
        errors.UsageError: the URL or a parameter is wrong.
    """

    def __init__(
        self,
        url: str = "amqp://localhost",
        *,
        exchange: str = EXCHANGE,
        routing_key: str = "#",
        stream: bool = False,
        quorum: bool = False,
        prefetch_count: int = 4000,
        **options: Any,
    ) -> None:
        super().__init__(url, **{"batch_size": 2000, **options})
        if not 1 <= prefetch_count <= 65_535:
            raise errors.UsageError("prefetch_count must be 1 to 65535")
        try:
            from headrace.core import amqp
        except ImportError as error:
            raise errors.MissingExtra("rabbitmq", "a RabbitMQ consumer") from error
        self._amqp = amqp
        self._address = amqp.address(url)
        self.exchange = exchange
        self.stream = stream
        self.queue = ""
        self._key = routing_key
        self._quorum = quorum and self.group is not None and not stream
        self._prefetch = prefetch_count
        self._offset: Any = _offset(self.start)
        self._alone = False  # what came back from others is handed out one by one, before all that is new
        self._peers = (
            0  # other consumers of the queue: each may have held what came back, and died of another
        )
        self._connection: amqp.Connection | None = None
        self._tags: dict[str, int] = {}
        self._known: dict[str, None] = {}

    async def _open(self) -> None:
        connection = self._connection = await self._amqp.Connection.open(
            self._address, f"headrace {self.consumer_name}"
        )
        await connection.declare_exchange(self.exchange)
        arguments: dict[str, Any] = {}
        if self.stream:
            self.queue = await self._amqp.declare_stream(connection, self.exchange)
            arguments["x-stream-offset"] = self._offset
        elif self.group is not None:
            self.queue = await self._amqp.declare_group(
                connection, self.exchange, self.group, self._key, quorum=self._quorum
            )
        else:
            self.queue = await connection.declare_queue("", temporary=True)
            await connection.bind(self.queue, self.exchange, self._key)
        self._alone = self._quorum
        if self._alone:
            self._peers = await connection.readers(self.queue)
        prefetch = 1 if self._alone else self._prefetch
        await connection.consume(self.queue, prefetch=prefetch, arguments=arguments)

    async def _read(self) -> list[Message]:
        assert self._connection is not None
        found = await self._connection.deliveries(self.batch_size, _WAIT_S)
        if not found:
            return []
        returned = 0
        if self._alone:
            if found[0].redelivered:
                returned = max(0, int(found[0].headers.get("x-delivery-count", 0)) - self._peers)
            else:  # the first that nobody had before us
                self._alone = False
                await self._connection.cancel()
                await self._connection.consume(self.queue, prefetch=self._prefetch)
        messages = []
        for delivery in found:
            name = self._name(delivery)
            if name in self._known or name in self._tags:
                continue
            messages.append(Message(name, delivery.body, returned))
            self._tags[name] = delivery.tag
        if not messages:  # nothing but what is known
            await self._connection.acknowledge(found[-1].tag)
        elif len(messages) < len(found):  # a copy has the place of what it is a copy of
            self._tags[messages[-1].id] = found[-1].tag
        return messages

    def _name(self, delivery: Delivery) -> str:
        """What tells a message from all others: its id, else its place in the stream or on this connection."""
        if self.stream:
            return f"offset {delivery.headers.get('x-stream-offset')}"
        return delivery.message_id or f"{id(self._connection):x} {delivery.tag}"

    async def _acknowledge(self, messages: Sequence[Message]) -> None:
        """All of them in one; a batch is acknowledged from its beginning, in order."""
        if self._connection is None:
            raise ConnectionResetError("the connection to RabbitMQ is gone")
        await self._connection.acknowledge(self._tags[messages[-1].id])
        for message in messages:
            del self._tags[message.id]
            self._known[message.id] = None
        while len(self._known) > _KNOWN:
            del self._known[next(iter(self._known))]
        if self.stream:
            self._offset = int(messages[-1].id.partition(" ")[2]) + 1

    async def _bury(self, message: Message, reason: str, error: str) -> None:
        if self._connection is None:
            raise ConnectionResetError("the connection to RabbitMQ is gone")
        name = await self._connection.declare_queue(f"{self.exchange}.{self.group or 'own'}.dead")
        headers = {"reason": reason, "error": error[:1000], "id": message.id}
        await self._connection.publish(
            [self._connection.frame("", name, message.body, message.id[:200], headers)]
        )

    async def _close(self) -> None:
        connection, self._connection = self._connection, None
        self._tags.clear()
        if connection is not None:
            await connection.close()


def _offset(start: Any) -> Any:
    if isinstance(start, datetime):
        return start
    if isinstance(start, str) and not start.isdigit():
        return {"beginning": "first", "end": "next"}.get(start, start)
    return int(start)
