"""Why an image could not be made or loaded."""

from __future__ import annotations

from hermes.errors import ServerFault


class ImageFailed(ServerFault):
    """The image could not be made"""
