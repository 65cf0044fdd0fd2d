"""What can keep `hermes up` from running."""

from __future__ import annotations

from hermes.errors import ServerFault, UserError


class AlreadyRunning(UserError):
    """Hermes already runs on this folder"""


class PortTaken(UserError):
    """A port is taken"""


class HomeUnusable(UserError):
    """The data folder cannot be used"""


class StartFailed(ServerFault):
    """Hermes could not be started"""


class StopFailed(ServerFault):
    """Hermes could not be stopped"""
