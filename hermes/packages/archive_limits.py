"""How large an archive may be, packed and unpacked."""

from __future__ import annotations

import msgspec

_MIB = 1024 * 1024


class ArchiveLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds of one archive: bytes as packed, bytes of all files together, files and folders."""

    packed: int
    unpacked: int
    entries: int

    @property
    def stream(self) -> int:
        """Bytes that the tar stream may have: contents, headers and padding."""
        return self.unpacked + self.entries * 4096 + _MIB


#: A function's source as the CLI uploads it.
SOURCE_LIMITS = ArchiveLimits(packed=50 * _MIB, unpacked=256 * _MIB, entries=10_000)

#: A function's folder after `make`.
ARTIFACT_LIMITS = ArchiveLimits(packed=1100 * _MIB, unpacked=1024 * _MIB, entries=20_000)
