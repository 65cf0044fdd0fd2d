"""The few files of /etc that a sandbox sees, laid out once per agent and bound read-only."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path

USER_ID = 1000  # the program's user inside, whatever it is outside

#: The same in every sandbox, whatever the host.
ETC_FILES = {
    "passwd": f"hermes:x:{USER_ID}:{USER_ID}:hermes:/work:/bin/sh\n",
    "group": f"hermes:x:{USER_ID}:\n",
    "hosts": "127.0.0.1 localhost\n::1 localhost\n",
    "nsswitch.conf": "passwd: files\ngroup: files\nhosts: files\n",
}


def lay_out_etc(folder: Path) -> None:
    """Write /etc for sandboxes: users, names, the loader's cache and Debian's alternatives."""
    folder.mkdir(mode=0o755)
    for name, content in ETC_FILES.items():
        (folder / name).write_text(content)
    with contextlib.suppress(OSError):
        shutil.copyfile("/etc/ld.so.cache", folder / "ld.so.cache")
    with contextlib.suppress(OSError):
        shutil.copyfile("/etc/localtime", folder / "localtime")
    alternatives = folder / "alternatives"
    alternatives.mkdir()
    host = Path("/etc/alternatives")
    for link in host.iterdir() if host.is_dir() else ():
        if link.is_symlink():
            (alternatives / link.name).symlink_to(link.readlink())
    for path in (folder, *folder.iterdir()):
        path.chmod(0o755 if path.is_dir() else 0o644)
