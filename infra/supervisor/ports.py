"""The ports of a data folder: chosen once, stored, the same again at every start."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import msgspec

from infra.embedded.ports import free_ports, is_free
from infra.supervisor.errors import HomeUnusable, PortTaken


class StoredPorts(msgspec.Struct, frozen=True):
    """TCP ports on loopback."""

    api: int
    kafka: int
    kafka_controller: int
    postgres: int


def choose_ports(file: Path, api: int | None, unused: Collection[str] = ()) -> StoredPorts:
    """The folder's ports; `api` replaces the stored one. Raises PortTaken or HomeUnusable.

    `unused` ports may be taken: their servers are not ours.
    """
    stored = _read(file)
    if stored is None:
        stored = _free(api)
    elif api is not None:
        stored = msgspec.structs.replace(stored, api=api)
    for name, port in msgspec.structs.asdict(stored).items():
        if name not in unused and not is_free(port):
            advice = (
                "choose another one with --port"
                if name == "api"
                else f"end that program, or remove {file} to have new ports chosen"
            )
            raise PortTaken(f"port {port} ({name}) is used by another program; {advice}")
    new = file.with_suffix(".new")
    new.write_bytes(msgspec.json.encode(stored))
    new.replace(file)
    return stored


def _read(file: Path) -> StoredPorts | None:
    try:
        return msgspec.json.decode(file.read_bytes(), type=StoredPorts)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError) as error:
        raise HomeUnusable(f"{file}: {error}; remove it to have new ports chosen") from None


def _free(api: int | None) -> StoredPorts:
    chosen, *others = [port for port in free_ports(5) if port != api][:4]
    return StoredPorts(api or chosen, *others)
