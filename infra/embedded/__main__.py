"""`python -m infra.embedded`: fetch and prepare what a first `hermes up` would wait for."""

from __future__ import annotations

import sys

from hermes.errors import HermesError
from infra.embedded.class_archive import ensure_class_archive
from infra.embedded.jars import jar_folder


def main() -> int:
    """Exit status: 0, or 1 with the reason on stderr."""
    try:
        ensure_class_archive(lambda line: print(line, file=sys.stderr, flush=True))
    except HermesError as error:
        print(f"hermes: {error.title()}: {error.detail}", file=sys.stderr)
        return 1
    print(f"Apache Kafka is ready to start, its jars lie in {jar_folder()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
