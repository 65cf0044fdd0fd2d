"""What all of Hermes' own Kafka clients have in common."""

from __future__ import annotations

REQUEST_TIMEOUT = 8.0
"""Seconds a broker may take to answer, or to be connected to, before it is taken for gone.

A broker whose host is gone says nothing, not even that it is gone. Finding its successor takes two
such waits at worst (for the connection, then for who leads now, if it is asked that) after the six
seconds or so until there is one: a lease on a cluster, 30 s, must be longer than that. And what is
fetched at once, `log.FETCH_BYTES`, must come within one.
"""

CLIENT = {"request_timeout_ms": int(REQUEST_TIMEOUT * 1000), "metadata_max_age_ms": 30_000}
