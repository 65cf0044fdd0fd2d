"""What the engine itself is told to refuse, process 1 of the container included.

By name only, and so the coarse half: the guard puts the whole filter of `infra.sandbox.seccomp` on
before the program starts. The engine's own default is no choice: it refuses less. Nor is the whole
filter in its words: each rule is translated anew for every container, and 280 names with 150 rules
for arguments took 40 ms of CPU, a fifth of all that a container costs; these take about 5.
"""

from __future__ import annotations

import errno
import json
from functools import cache

from infra.sandbox import seccomp


@cache
def profile() -> str:
    """The JSON that `SecurityOpt: seccomp=` takes."""
    return json.dumps(
        {
            "defaultAction": "SCMP_ACT_ALLOW",
            "architectures": ["SCMP_ARCH_X86_64"],
            "syscalls": [
                _refuse(sorted(seccomp.REFUSED), errno.EPERM),
                _refuse(sorted(seccomp.ABSENT), errno.ENOSYS),
            ],
        }
    )


def _refuse(calls: list[str], code: int) -> dict[str, object]:
    return {"names": calls, "action": "SCMP_ACT_ERRNO", "errnoRet": code}
