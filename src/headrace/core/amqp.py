"""One connection to RabbitMQ with one channel, in confirm mode: the small shell around `protocol.amqp`.

    reader task: socket ► Decoder ► answers (to the one who waits), confirms, deliveries
    beat task:   a heartbeat when nothing else is sent; a peer that is silent for too long is gone

Both tasks belong to the connection and end with `close`. Everything that goes wrong with the far side is a
`ConnectionError` or `TimeoutError`; a broker that refuses what it is asked for is `Refused`, which trying again
does not mend. Next: `headrace.sinks.rabbitmq`, `headrace.consumer.rabbitmq`.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeVar
from urllib.parse import parse_qsl, unquote, urlsplit

from pamqp import base, commands

from headrace import errors
from headrace.protocol import amqp

_CHANNEL = 1
_FRAME_MAX = 131_072
_BEAT_S = 10.0
_SILENT_S = 30.0
_TIMEOUT_S = 20.0  # for an answer, or for a batch to be confirmed
_READ = 1 << 18
# Straight to disk, in RabbitMQ's second format: here twice as many confirmed events a second as without.
_ON_DISK: dict[str, Any] = {"x-queue-version": 2, "x-queue-mode": "lazy"}
_QUORUM: dict[str, Any] = {"x-queue-type": "quorum"}
Answer = TypeVar("Answer", bound=base.Frame)
STREAM_BYTES = 2_000_000_000  # what a stream keeps, about
_MOST_WAITING = (
    100_000  # deliveries nobody has read; a broker keeps to the prefetch count, so this is a fault
)


class Refused(errors.StoreError):
    """The broker does not do what it is asked: a wrong password, a queue that is declared otherwise."""


class Address(NamedTuple):
    """What an AMQP URL says."""

    host: str
    port: int
    user: str
    password: str
    vhost: str
    tls: bool
    cafile: str | None = None


def address(url: str) -> Address:
    """Read `amqp[s]://[USER:PASSWORD@]HOST[:PORT][/VHOST][?cafile=PATH]`.

    With `amqps` the broker's certificate has to be for that host, and signed by an authority of the system's or of
    `cafile` (PEM).

    Raises:
        errors.UsageError: it is none.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise errors.UsageError(f"not the URL of a RabbitMQ server: {error}") from error
    if parts.scheme not in ("amqp", "amqps") or not parts.hostname:
        raise errors.UsageError(
            f"not the URL of a RabbitMQ server (amqp://HOST or amqps://HOST): {parts.scheme}://…"
        )
    tls = parts.scheme == "amqps"
    return Address(
        parts.hostname,
        port or (5671 if tls else 5672),
        unquote(parts.username or "guest"),
        unquote(parts.password or "guest"),
        unquote(parts.path.removeprefix("/")) or "/",
        tls,
        dict(parse_qsl(parts.query)).get("cafile"),
    )


class Connection:
    """An open connection. Make one with `open`."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._decoder = amqp.Decoder()
        self._answers: dict[str, asyncio.Future[Any]] = {}
        self._frame_max = _FRAME_MAX
        self._error: Exception | None = None
        self._published = 0
        self._confirmed = 0
        self._ahead: set[int] = set()  # confirmed before one that was published earlier
        self._consumer = ""  # the broker's name for us as a consumer
        self._moved = asyncio.Event()  # a confirm or a delivery came, or the end
        self._waiting: deque[amqp.Delivery] = deque()
        self._heard = asyncio.get_running_loop().time()
        self._tasks: list[asyncio.Task[None]] = []

    @classmethod
    async def open(cls, where: Address, name: str) -> Connection:
        """Connect and log in.

        Args:
            name: what the broker's own pages call this connection.

        Raises:
            ConnectionError, TimeoutError: it cannot be reached.
            Refused: it can, and does not let us in, or is not who it should be.
        """
        try:
            tls = ssl.create_default_context(cafile=where.cafile) if where.tls else None
        except (OSError, ssl.SSLError) as error:
            raise Refused(f"the certificates in {where.cafile} cannot be read: {error}") from error
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                reader, writer = await asyncio.open_connection(
                    where.host,
                    where.port,
                    ssl=tls,
                    limit=_READ,
                )
                connection = cls(reader, writer)
                try:
                    await connection._greet(where, name)
                except BaseException:
                    await connection.close()
                    raise
        except TimeoutError:
            raise
        except ssl.SSLCertVerificationError as error:
            raise Refused(f"the certificate of {where.host}:{where.port}: {error.verify_message}") from error
        except OSError as error:
            raise ConnectionError(f"no RabbitMQ at {where.host}:{where.port}: {error}") from error
        return connection

    async def _greet(self, where: Address, name: str) -> None:
        start = self._expect(commands.Connection.Start)
        tune = self._expect(commands.Connection.Tune)
        self._writer.write(amqp.PREAMBLE)
        self._tasks.append(asyncio.create_task(self._read()))
        await start
        properties: Any = {
            "product": "headrace",
            "connection_name": name,
            "capabilities": {
                "publisher_confirms": True,
                "basic.nack": True,
                "consumer_cancel_notify": True,
                "authentication_failure_close": True,
            },
        }
        login = f"\0{where.user}\0{where.password}"
        self._send(0, commands.Connection.StartOk(properties, "PLAIN", login, "en_US"))
        try:
            tuned = await tune
        except ConnectionError as error:
            raise Refused(f"RabbitMQ closed the connection at the login of {where.user!r}") from error
        self._frame_max = min(tuned.frame_max or _FRAME_MAX, _FRAME_MAX)
        beat = min(tuned.heartbeat or 60, int(2 * _BEAT_S))
        self._send(0, commands.Connection.TuneOk(tuned.channel_max, self._frame_max, beat))
        await self._ask(0, lambda: commands.Connection.Open(where.vhost), commands.Connection.OpenOk)
        await self._ask(_CHANNEL, commands.Channel.Open, commands.Channel.OpenOk)
        await self._ask(_CHANNEL, commands.Confirm.Select, commands.Confirm.SelectOk)
        self._tasks.append(asyncio.create_task(self._beat()))

    # -- what a broker is asked for --------------------------------------------------------------------------

    async def declare_exchange(self, name: str, kind: str = "topic") -> None:
        """A durable exchange."""
        await self._ask(
            _CHANNEL,
            lambda: commands.Exchange.Declare(exchange=name, exchange_type=kind, durable=True),
            commands.Exchange.DeclareOk,
        )

    async def declare_queue(
        self, name: str, *, temporary: bool = False, arguments: Mapping[str, Any] | None = None
    ) -> str:
        """A durable queue, or one that goes with this connection; returns its name (the broker's where empty)."""
        answer = await self._ask(
            _CHANNEL,
            lambda: commands.Queue.Declare(
                queue=name,
                durable=not temporary,
                exclusive=temporary,
                auto_delete=temporary,
                arguments=dict(arguments or {}),
            ),
            commands.Queue.DeclareOk,
        )
        return answer.queue or ""

    async def bind(self, queue: str, exchange: str, routing_key: str) -> None:
        """Let what is published under a key into a queue."""
        await self._ask(
            _CHANNEL,
            lambda: commands.Queue.Bind(queue=queue, exchange=exchange, routing_key=routing_key),
            commands.Queue.BindOk,
        )

    async def consume(self, queue: str, *, prefetch: int, arguments: Mapping[str, Any] | None = None) -> None:
        """Have the messages of a queue delivered, at most `prefetch` of them unacknowledged."""
        await self._ask(_CHANNEL, lambda: commands.Basic.Qos(prefetch_count=prefetch), commands.Basic.QosOk)
        answer = await self._ask(
            _CHANNEL,
            lambda: commands.Basic.Consume(queue=queue, arguments=dict(arguments or {})),
            commands.Basic.ConsumeOk,
        )
        self._consumer = answer.consumer_tag or ""

    async def cancel(self) -> None:
        """Have no more delivered; what was is still ours to acknowledge."""
        tag = self._consumer
        await self._ask(_CHANNEL, lambda: commands.Basic.Cancel(tag), commands.Basic.CancelOk)

    async def readers(self, queue: str) -> int:
        """How many consumers a queue has."""
        answer = await self._ask(
            _CHANNEL, lambda: commands.Queue.Declare(queue=queue, passive=True), commands.Queue.DeclareOk
        )
        return answer.consumer_count or 0

    # -- the path of an event --------------------------------------------------------------------------------

    async def publish(self, frames: list[bytes]) -> None:
        """Send messages (see `frame`) and wait until the broker has all of them.

        Raises:
            ConnectionError: it went away, or refused one: nobody knows which of them it has.
            TimeoutError: it does not answer.
        """
        self._check()
        self._published += len(frames)
        last = self._published
        async with asyncio.timeout(_TIMEOUT_S):
            self._writer.write(b"".join(frames))
            await self._drain()
            while self._confirmed < last:
                self._moved.clear()
                await self._moved.wait()
                self._check()

    def frame(
        self,
        exchange: str,
        routing_key: str,
        body: bytes,
        message_id: str,
        headers: Mapping[str, Any] | None = None,
    ) -> bytes:
        """One message for `publish`."""
        return amqp.publish(
            _CHANNEL,
            exchange,
            routing_key,
            body,
            message_id=message_id,
            frame_max=self._frame_max,
            headers=headers,
        )

    async def deliveries(self, most: int, seconds: float) -> list[amqp.Delivery]:
        """What has been delivered, at most so many; nothing after so long without any."""
        if not self._waiting:
            self._check()
            self._moved.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._moved.wait()
            self._check()
        waiting = self._waiting
        return [waiting.popleft() for _ in range(min(most, len(waiting)))]

    async def acknowledge(self, tag: int) -> None:
        """Everything that was delivered up to this one is handled."""
        self._check()
        self._send(_CHANNEL, commands.Basic.Ack(tag, True))
        await self._drain()

    async def close(self) -> None:
        """Say goodbye where that is possible, and let go. Idempotent."""
        tasks, self._tasks = self._tasks, []
        if self._error is None and tasks:
            self._error = ConnectionError("closed")
            with contextlib.suppress(OSError, TimeoutError):
                async with asyncio.timeout(1.0):
                    closed = self._expect(commands.Connection.CloseOk)
                    self._send(0, commands.Connection.Close(200, "bye", 0, 0))
                    await self._writer.drain()
                    await closed
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._writer.close()
        with contextlib.suppress(OSError, TimeoutError, ssl.SSLError):
            async with asyncio.timeout(1.0):
                await self._writer.wait_closed()

    # -- inside ----------------------------------------------------------------------------------------------

    def _send(self, channel: int, method: base.Frame) -> None:
        self._writer.write(amqp.method(channel, method))

    def _expect(self, which: type[Answer]) -> asyncio.Future[Answer]:
        future = self._answers[which.name] = asyncio.get_running_loop().create_future()
        return future

    async def _ask(self, channel: int, method: Callable[[], base.Frame], answer: type[Answer]) -> Answer:
        self._check()
        try:
            data = amqp.method(channel, method())
        except (TypeError, ValueError) as error:  # a name of characters that AMQP has not, or too long
            raise Refused(f"not to be said in AMQP: {error}", retryable=False) from error
        future = self._expect(answer)
        self._writer.write(data)
        async with asyncio.timeout(_TIMEOUT_S):
            return await future

    async def _drain(self) -> None:
        try:
            await self._writer.drain()
        except ConnectionError:
            self._check()
            raise

    def _check(self) -> None:
        if self._error is not None:
            raise self._error

    async def _read(self) -> None:
        try:
            while data := await self._reader.read(_READ):
                self._heard = asyncio.get_running_loop().time()
                for received in self._decoder.feed(data):
                    self._received(received)
                self._moved.set()
                if len(self._waiting) > _MOST_WAITING:
                    raise amqp.ProtocolError("more deliveries than were asked for")
            self._end(ConnectionResetError("RabbitMQ has closed the connection"))
        except (OSError, amqp.ProtocolError) as error:
            self._end(ConnectionResetError(f"the connection to RabbitMQ broke: {error}"))

    def _received(self, received: amqp.Received) -> None:
        if isinstance(received, amqp.Delivery):
            self._waiting.append(received)
        elif isinstance(received, amqp.Confirm):
            self._confirm(received)
        elif isinstance(received, commands.Connection.Close | commands.Channel.Close):
            away = received.reply_code in (
                311,
                320,
                501,
                541,
            )  # too large, told to close, frame error, internal
            why = f"RabbitMQ says {received.reply_code} {received.reply_text}"
            self._end(ConnectionResetError(why) if away else Refused(why, retryable=False))
        elif isinstance(received, commands.Basic.Cancel):
            self._end(ConnectionResetError("the queue is gone"))
        else:
            future = self._answers.pop(received.name, None)
            if future is not None and not future.done():
                future.set_result(received)

    def _confirm(self, confirm: amqp.Confirm) -> None:
        if not confirm.taken:
            self._end(ConnectionResetError("RabbitMQ could not take an event"))
        elif confirm.multiple:
            self._confirmed = max(self._confirmed, confirm.tag)
        else:
            self._ahead.add(confirm.tag)
        ahead = self._ahead
        while ahead and self._confirmed + 1 in ahead:
            self._confirmed += 1
            ahead.remove(self._confirmed)
        if confirm.multiple and ahead:
            self._ahead = {tag for tag in ahead if tag > self._confirmed}

    def _end(self, error: Exception) -> None:
        """Nothing more comes: everybody who waits is told."""
        if self._error is None:
            self._error = error
        for future in self._answers.values():
            if not future.done():
                future.set_exception(self._error)
                future.exception()  # told to whoever waits; nobody has to
        self._answers.clear()
        self._moved.set()

    async def _beat(self) -> None:
        loop = asyncio.get_running_loop()
        while self._error is None:
            await asyncio.sleep(_BEAT_S)
            if loop.time() - self._heard > _SILENT_S:
                self._end(ConnectionResetError("RabbitMQ has been silent for too long"))
                return
            self._writer.write(amqp.HEARTBEAT)


async def declare_group(
    connection: Connection, exchange: str, group: str, key: str = "#", *, quorum: bool = False
) -> str:
    """The queue of a group of consumers: durable, bound to the exchange. Returns its name."""
    arguments = _QUORUM if quorum else _ON_DISK
    queue = await connection.declare_queue(f"{exchange}.{group}", arguments=arguments)
    await connection.bind(queue, exchange, key)
    return queue


async def declare_stream(connection: Connection, exchange: str) -> str:
    """The stream of an exchange, which keeps its events for replay. Returns its name."""
    arguments = {"x-queue-type": "stream", "x-max-length-bytes": STREAM_BYTES}
    stream = await connection.declare_queue(f"{exchange}.stream", arguments=arguments)
    await connection.bind(stream, exchange, "#")
    return stream
