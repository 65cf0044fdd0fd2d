"""Rebuilds a projection from the log while the old generation serves.

Also `python -m projections.rebuild NAME`, which reports its progress in the table
`hermes.rebuilds`; the projector starts it when a rebuild is asked for.
"""

from __future__ import annotations

import gc
import logging
import sys

import asyncpg
import msgspec
import uvloop

from hermes.errors import HermesError
from hermes.settings import Settings
from projections.checkpoints import describe
from projections.comparison import Comparison
from projections.definitions import DEFINITIONS
from projections.rebuilds import report_rebuild
from projections.shadow import Report, shadow_of

log = logging.getLogger(__name__)


class Rebuilt(msgspec.Struct, frozen=True, kw_only=True):
    """What a rebuild did; `comparison` says how the old generation differed from the log."""

    name: str
    events: int
    comparison: Comparison


async def rebuild(settings: Settings, name: str, report: Report) -> Rebuilt:
    """Fill, verify and activate a new generation; the old one serves until then.

    Raises AlreadyExists while another rebuild of it runs, RebuildFailed, and what the log or the
    database raise; then the old generation goes on serving.
    """
    definition = DEFINITIONS[name]
    async with shadow_of(settings, definition) as shadow:
        await shadow.create()
        await shadow.fill(report)
        comparison = await shadow.compare_with_active()
        await shadow.activate()
        await shadow.drop_others()
        return Rebuilt(name=name, events=shadow.events, comparison=comparison)


async def rebuild_and_report(settings: Settings, name: str) -> Rebuilt:
    """`rebuild`, with its progress and its end in the table `hermes.rebuilds`."""
    reports = await asyncpg.create_pool(settings.database_url, min_size=1, max_size=1)

    async def progress(step: str, done: int, total: int) -> None:
        await report_rebuild(reports, name, status=step, events_done=done, events_total=total)

    try:
        rebuilt = await rebuild(settings, name, progress)
        comparison = rebuilt.comparison
        await report_rebuild(
            reports,
            name,
            status="done",
            events_done=rebuilt.events,
            events_total=rebuilt.events,
            rows_compared=comparison.rows,
            differences=comparison.differences,
            examples=msgspec.json.encode(comparison.examples).decode(),
            verified=True,
        )
        return rebuilt
    except Exception as error:
        await report_rebuild(reports, name, status="failed", error=describe(error))
        raise
    finally:
        reports.terminate()


def main() -> int:
    """Exit status: 0, 1 with the reason on stderr, 2 for an unknown name."""
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(message)s")
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    names = sys.argv[1:]
    if len(names) != 1 or names[0] not in DEFINITIONS:
        log.error("usage: python -m projections.rebuild {%s}", "|".join(DEFINITIONS))
        return 2
    # Folding makes millions of objects and no cycles: looking for some took a fifth of the time.
    gc.set_threshold(50_000, 20, 20)
    try:
        rebuilt = uvloop.run(rebuild_and_report(Settings.from_env(), names[0]))
    except (TimeoutError, HermesError, OSError, asyncpg.PostgresError) as error:
        log.error("the rebuild of %s failed: %s", names[0], describe(error))
        return 1
    log.info(
        "rebuilt %s: %d events, %d rows compared, %d differed",
        names[0],
        rebuilt.events,
        rebuilt.comparison.rows,
        rebuilt.comparison.differences,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
