"""What can go wrong with the parts that Hermes brings along."""

from __future__ import annotations

from hermes.errors import ServerFault


class JarsUnavailable(ServerFault):
    """Apache Kafka's jars could not be fetched"""


class EmbeddedFault(ServerFault):
    """An embedded server could not be started"""
