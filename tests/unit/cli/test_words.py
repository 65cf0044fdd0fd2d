"""What people type: command words, names, times, sizes, speeds."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from cli.argv import split_topics
from cli.execution_streams import parse_speed
from cli.main import COMMANDS, TOPICS
from cli.problem import Problem
from cli.refs import parse_execution, parse_ref, parse_size, path
from cli.when import duration, parse_when

NOW = datetime(2026, 1, 31, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("execution:list --all", "execution list --all"),
        ("execution list", "execution list"),
        ("--json execution:list", "--json execution list"),
        ("--url execution:list execution:list", "--url execution:list execution list"),
        ("--url=http://h execution:list", "--url=http://h execution list"),
        ("--token-file f remote:whoami", "--token-file f remote whoami"),
        ("run ana/echo:1.0.0", "run ana/echo:1.0.0"),
        ("run --input execution:list", "run --input execution:list"),
        ("function:run ana/echo:1.0.0", "function run ana/echo:1.0.0"),
        ("execution:", "execution:"),
        (":list", ":list"),
        ("run:x", "run:x"),
        ("", ""),
    ],
)
def test_a_colon_separates_topic_and_command(typed: str, meant: str) -> None:
    assert split_topics(typed.split(), TOPICS) == meant.split()


def test_topics_are_the_commands_that_have_commands() -> None:
    nouns = {"function", "execution", "agent", "gpu", "audit", "projection", "remote", "toolchain"}
    assert nouns == TOPICS
    assert set(COMMANDS) > TOPICS


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("90s", "2026-01-31T11:58:30.000000Z"),
        ("1.5h", "2026-01-31T10:30:00.000000Z"),
        ("10m", "2026-01-31T11:50:00.000000Z"),
        ("7d", "2026-01-24T12:00:00.000000Z"),
        ("2026-01-31T12:00:00Z", "2026-01-31T12:00:00.000000Z"),
        ("2026-01-31T12:00:00.123456+05:30", "2026-01-31T06:30:00.123456Z"),
    ],
)
def test_a_time_is_rfc_3339_or_an_age(text: str, moment: str) -> None:
    assert parse_when(text, "--since", NOW) == moment


@pytest.mark.parametrize(
    "text", ["", "yesterday", "5", "-5m", "5w", "2026-01-31", "2026-01-31T12:00:00", "999999999d"]
)
def test_what_is_no_time_is_refused_by_the_name_of_its_flag(text: str) -> None:
    with pytest.raises(Problem, match="--until"):
        parse_when(text, "--until", NOW)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("1", 1), ("1024B", 1024), ("16GiB", 16 * 2**30), ("16g", 16 * 2**30),
        ("1.5K", 1536), ("2 MB", 2_000_000),
    ],
)  # fmt: skip
def test_sizes_have_units(text: str, size: int) -> None:
    assert parse_size(text, "--gpu-memory") == size


@pytest.mark.parametrize("text", ["", "-1", "1.5.2", "GiB", "1 parsec", "1e9"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(Problem, match="--gpu-memory"):
        parse_size(text, "--gpu-memory")


def test_names_of_functions() -> None:
    ref = parse_ref("ana/reduce-sum:1.0.10")
    assert (ref.owner, ref.name, ref.version) == ("ana", "reduce-sum", "1.0.10")
    assert parse_ref("ana/x").version is None
    for wrong in ("x", "ana/", "ana/x:", "ana/x:1.0", "Ana/x", "ana/x/y", "ana/x:01.0.0", "ana/x "):
        with pytest.raises(Problem) as caught:
            parse_ref(wrong)
        assert caught.value.exit_code == 2


def test_names_of_executions() -> None:
    assert parse_execution("0189ABCD") == "0189abcd"
    assert parse_execution("@last") == "@last"
    for wrong in ("", "@first", "zz", "0189/", "0" * 37):
        with pytest.raises(Problem):
            parse_execution(wrong)


def test_a_path_segment_cannot_leave_its_place() -> None:
    assert path("executions", "../users?x#y", "tail") == "/v1/executions/..%2Fusers%3Fx%23y/tail"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0.000 s"), (59.9994, "59.999 s"), (125, "2 m 05 s"), (11040, "3 h 04 m")],
)
def test_durations_read_well(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_speeds() -> None:
    assert parse_speed("max") is None
    assert parse_speed("10x") == 10
    with pytest.raises(Problem):
        parse_speed("0")
