"""A build's sources on their way into its work folder; the same for every kind of sandbox."""

from __future__ import annotations

import os
from pathlib import Path

from infra.images.threads import in_thread
from infra.sandbox import tree


async def copy_sources(folder: Path, work: int, owner: int | None) -> None:
    """Copy what is below `folder` into the open folder `work`, as `owner`.

    When it returns, cancelled or not, nothing uses `work` any more. Raises OSError.
    """
    source = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        await in_thread(tree.copy, source, work, owner)
    finally:
        os.close(source)
