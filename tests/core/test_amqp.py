"""The connection to a real RabbitMQ: what it can do, and how each ending is told."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from headrace import errors
from headrace.core import amqp
from headrace.testing.programs import free_port
from headrace.testing.rabbitmq import RabbitMQ


async def opened(server: RabbitMQ) -> amqp.Connection:
    return await amqp.Connection.open(amqp.address(server.url), "test")


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("amqp://localhost", ("localhost", 5672, "guest", "guest", "/", False, None)),
        ("amqps://ada:p%40ss@broker:1234/my%2Fhost", ("broker", 1234, "ada", "p@ss", "my/host", True, None)),
        ("amqps://a?cafile=/ca.pem", ("a", 5671, "guest", "guest", "/", True, "/ca.pem")),
    ],
)
def test_what_a_url_says(url: str, found: tuple[object, ...]) -> None:
    assert tuple(amqp.address(url)) == found


@pytest.mark.parametrize("url", ["http://localhost", "amqp://", "amqp://host:port"])
def test_what_is_no_url(url: str) -> None:
    with pytest.raises(errors.UsageError):
        amqp.address(url)


async def test_there_and_back(rabbitmq: RabbitMQ) -> None:
    connection = await opened(rabbitmq)
    await connection.declare_exchange("there")
    queue = await connection.declare_queue("", temporary=True)
    await connection.bind(queue, "there", "a.*")
    await connection.consume(queue, prefetch=10)
    big = bytes(range(256)) * 2000  # in several frames
    await connection.publish(
        [
            connection.frame("there", "a.b", big, "id:1", {"reason": "because"}),
            connection.frame("there", "other", b"not bound", "id:2"),
            connection.frame("there", "a.c", b"", "id:3"),
        ]
    )
    found = []
    while len(found) < 2:
        found += await connection.deliveries(10, 5.0)
    assert [(d.routing_key, d.body, d.message_id) for d in found] == [
        ("a.b", big, "id:1"),
        ("a.c", b"", "id:3"),
    ]
    assert found[0].headers == {"reason": "because"}
    await connection.acknowledge(found[-1].tag)
    assert await connection.deliveries(10, 0.01) == []
    await connection.close()
    await connection.close()


async def test_nobody_there() -> None:
    with pytest.raises(ConnectionError, match="no RabbitMQ at"):
        await amqp.Connection.open(amqp.address(f"amqp://127.0.0.1:{free_port()}"), "test")


async def test_something_else_there() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    with pytest.raises(ConnectionError):
        await amqp.Connection.open(amqp.address(f"amqp://127.0.0.1:{port}"), "test")
    server.close()


async def test_a_wrong_password_and_a_wrong_declaration_are_refused(rabbitmq: RabbitMQ) -> None:
    wrong = amqp.address(rabbitmq.url)._replace(password="wrong")
    with pytest.raises(amqp.Refused, match="403 ACCESS_REFUSED"):
        await amqp.Connection.open(wrong, "test")
    connection = await opened(rabbitmq)
    await connection.declare_exchange("kind", "topic")
    with pytest.raises(amqp.Refused, match="406"):
        await connection.declare_exchange("kind", "direct")
    await connection.close()


async def test_a_name_that_amqp_has_no_place_for_is_refused(rabbitmq: RabbitMQ) -> None:
    connection = await opened(rabbitmq)
    with pytest.raises(amqp.Refused, match="AMQP"):
        await connection.declare_exchange("x" * 300)
    await connection.close()


@pytest.mark.rabbitmq
async def test_tls_with_a_certificate_of_ones_own(tmp_path: Path) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("there is no openssl to make a certificate with")
    certificate, key, other = tmp_path / "certificate.pem", tmp_path / "key.pem", tmp_path / "other.pem"
    for path in (other, certificate):
        command = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext"
        options = ["subjectAltName=DNS:localhost", "-keyout", str(key), "-out", str(path)]
        await asyncio.to_thread(subprocess.run, [*command.split(), *options], check=True, capture_output=True)
    try:
        server = RabbitMQ((certificate, key))
    except errors.UsageError as error:
        pytest.skip(str(error))
    with server:
        connection = await amqp.Connection.open(
            amqp.address(f"{server.tls_url}?cafile={certificate}"), "test"
        )
        queue = await connection.declare_queue("", temporary=True)
        await connection.consume(queue, prefetch=10)
        body = bytes(range(256)) * 4000
        await connection.publish([connection.frame("", queue, body, "id:1")])
        found: list[Any] = []
        while not found:  # the confirm is news as well
            found = await connection.deliveries(10, 5.0)
        assert found[0].body == body
        await connection.close()
        for url in (server.tls_url, f"{server.tls_url}?cafile={other}"):
            with pytest.raises(amqp.Refused, match="certificate"):
                await amqp.Connection.open(amqp.address(url), "test")
        with pytest.raises(amqp.Refused, match="cannot be read"):
            await amqp.Connection.open(amqp.address(f"{server.tls_url}?cafile={tmp_path}/none"), "test")
        plain = server.tls_url.replace("amqps", "amqp").replace("localhost", "127.0.0.1")
        with pytest.raises(ConnectionError):
            await amqp.Connection.open(amqp.address(plain), "test")


async def test_a_broker_that_is_killed_is_told_to_whoever_waits(rabbitmq: RabbitMQ) -> None:
    connection = await opened(rabbitmq)
    waiting = asyncio.create_task(connection.deliveries(10, 30.0))
    await asyncio.sleep(0)
    rabbitmq.kill()
    with pytest.raises(ConnectionError):
        await waiting
    with pytest.raises(ConnectionError):
        await connection.publish([connection.frame("", "x", b"", "id")])
    await connection.close()
