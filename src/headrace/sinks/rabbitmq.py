"""Events into RabbitMQ (the extra `rabbitmq`): durable topic exchange, persistent messages, confirmed batches.

A batch is written in one go and leaves the buffer when the broker has confirmed all of it. When the connection breaks
in between, the batch comes again, and the broker may then have some of it twice: every message has an id, the sink's
own and the event's number in it, by which the consumer (and any other reader) passes over what it knows.
Next: `callback`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from headrace import errors, ids
from headrace.core import events as core
from headrace.sinks.base import BaseSink, Item

if TYPE_CHECKING:
    from headrace.core import amqp

EXCHANGE = "headrace.events"
GROUP = "headrace"


class RabbitMQSink(BaseSink):
    """Sends events to RabbitMQ.

    Args:
        url: `amqp[s]://[USER:PASSWORD@]HOST[:PORT][/VHOST]`.
        exchange: a durable topic exchange; declared.
        routing_key: the key of each message, a template with `{event_type}`, `{run}`, `{span}`, `{operation}` and
            `{field}`.
        group: declare the queue of this group of consumers, so that what is sent before they first come is kept for
            them; None leaves that to them.
        stream: declare the exchange's stream as well, which keeps events for replay.
        quorum: the group's queue is a quorum queue; see `RabbitMQConsumer`.
        prefetch_count: events that may be unconfirmed at once.
        options: of `BaseSink`; `batch_size` is 2,000 here.

    Raises:
        errors.MissingExtra: the extra `rabbitmq` is not installed.
        errors.UsageError: the URL or a parameter is wrong.
    """

    def __init__(
        self,
        url: str = "amqp://localhost",
        *,
        exchange: str = EXCHANGE,
        routing_key: str = "{event_type}",
        group: str | None = GROUP,
        stream: bool = False,
        quorum: bool = False,
        prefetch_count: int = 2000,
        **options: Any,
    ) -> None:
        super().__init__(**{"batch_size": 2000, **options})
        if prefetch_count < 1:
            raise errors.UsageError("prefetch_count must be 1 or more")
        try:
            from headrace.core import amqp
        except ImportError as error:
            raise errors.MissingExtra("rabbitmq", "a RabbitMQ sink") from error
        self._amqp = amqp
        self._address = amqp.address(url)
        self._exchange = exchange
        self._key = routing_key
        self._group = group
        self._stream = stream
        self._quorum = quorum
        self._most = prefetch_count
        self._id = ids.ulid()
        self._connection: amqp.Connection | None = None
        try:
            self._key_of(core.TokenEvent())
        except (KeyError, IndexError, ValueError, AttributeError) as error:
            raise errors.UsageError(
                f"the routing_key {routing_key!r} is not a template: {error!r}"
            ) from error

    async def connect(self) -> None:
        """See `BaseSink.connect`."""
        if self._connection is not None:
            return
        connection = self._connection = await self._amqp.Connection.open(self._address, "headrace sink")
        await connection.declare_exchange(self._exchange)
        if self._group is not None:
            await self._amqp.declare_group(connection, self._exchange, self._group, quorum=self._quorum)
        if self._stream:
            await self._amqp.declare_stream(connection, self._exchange)

    async def disconnect(self) -> None:
        """See `BaseSink.disconnect`."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()

    async def handle_batch(self, batch: Sequence[Item]) -> None:
        """See `BaseSink.handle_batch`."""
        connection = self._connection
        assert connection is not None
        for start in range(0, len(batch), self._most):
            await connection.publish(
                [
                    connection.frame(
                        self._exchange, self._key_of(event), core.encode(event), f"{self._id}:{number}"
                    )
                    for number, event in batch[start : start + self._most]
                ]
            )

    def _key_of(self, event: core.HeadraceEvent) -> str:
        if self._key == "{event_type}":
            key = event.event_type
        else:
            key = self._key.format(
                event_type=event.event_type,
                run=event.run,
                span=event.span,
                operation=event.operation,
                field=event.data.get("field", ""),
            )
        return key if len(key) <= 63 else key.encode()[:255].decode("utf-8", "ignore")
