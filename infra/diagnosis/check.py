"""The outcome of one check."""

from __future__ import annotations

import msgspec


class Check(msgspec.Struct, frozen=True):
    """One thing that this machine has or lacks. `required`: Hermes does not work without it."""

    name: str
    ok: bool
    required: bool
    #: What was found.
    detail: str
    #: What to do, in one sentence; None where there is nothing to do.
    advice: str | None = None
