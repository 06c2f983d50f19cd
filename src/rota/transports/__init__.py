"""Transports: carriers of messages through a broker. One is chosen by the scheme of its URL."""

from rota.domain.errors import Invalid
from rota.domain.names import without_password
from rota.ports.carrier import Carrier

CHOICES = {
    "redis": "redis://user:password@host:6379/0",
    "rediss": "rediss://user:password@host:6379/0",
    "amqp": "amqp://user:password@host:5672/vhost",
    "amqps": "amqps://user:password@host:5671/vhost",
}
"""A URL for each scheme there is."""


def connect(url: str) -> Carrier:
    """The carrier that a URL names, not yet open. Raises `Invalid` that names the choices."""
    scheme = url.partition("://")[0]
    if scheme in ("redis", "rediss"):
        from rota.transports.redis import RedisCarrier

        return RedisCarrier(url)
    if scheme in ("amqp", "amqps"):
        from rota.transports.rabbitmq import RabbitCarrier

        return RabbitCarrier(url)
    shown = without_password(url)
    raise Invalid("carrier", f"{shown!r} names no broker; write a URL such as {', '.join(CHOICES.values())}")
