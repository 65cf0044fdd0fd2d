"""hermes.config.json: what is accepted, what is refused, and how it is said."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hermes.domain.resources import GpuRequest, Limits
from hermes.packages.config import (
    ConfigGpu,
    ConfigLimits,
    FunctionConfig,
    config_as_json,
    encode_config,
    parse_config,
    parse_gpu,
)
from hermes.packages.errors import ConfigError
from hermes.packages.limits import check_limits, effective_limits, gpu_request
from tests.support.archives import CONFIG, config_bytes

FULL = CONFIG | {
    "gpuCapable": True,
    "limits": {"time": 1.5, "memory": 1 << 30, "cpus": 0.5, "output": 1, "processes": 64},
    "gpu": {"count": 2, "memory": 1 << 33, "name": "*A100*", "computeCapability": "8.0"},
}


def problems_of(data: bytes) -> dict[str, str]:
    with pytest.raises(ConfigError) as caught:
        parse_config(data)
    return {problem.field: problem.message for problem in caught.value.problems}


def test_a_config_of_the_original_hermes_is_read_unchanged() -> None:
    config = parse_config(json.dumps(CONFIG, indent="\t").encode())
    assert config == FunctionConfig(
        function_name="waiter",
        function_version="1.0.0",
        language="cpp",
        handler="./main.out",
        gpu_capable=False,
        scope="public",
    )
    assert config_as_json(config) == CONFIG


def test_absent_optional_fields_take_their_defaults() -> None:
    required = {name: CONFIG[name] for name in CONFIG if name not in ("gpuCapable", "scope")}
    config = parse_config(json.dumps(required).encode())
    assert (config.gpu_capable, config.scope, config.limits, config.gpu) == (
        False,
        "private",
        None,
        None,
    )


def test_every_field_is_read_and_written_back() -> None:
    config = parse_config(json.dumps(FULL).encode())
    assert config.limits == ConfigLimits(time=1.5, memory=1 << 30, cpus=0.5, output=1, processes=64)
    assert config.gpu == ConfigGpu(count=2, memory=1 << 33, name="*A100*", compute_capability="8.0")
    assert config_as_json(config) == FULL
    assert parse_config(encode_config(config)) == config


ACCEPTED: dict[str, dict[str, Any]] = {
    "a name of 64 characters": {"functionName": "a" * 64},
    "a name starting with an underscore": {"functionName": "_x-1"},
    "a name starting with a digit": {"functionName": "0"},
    "a two-digit last number": {"functionVersion": "1.0.10"},
    "nine-digit numbers": {"functionVersion": "999999999.0.0"},
    "a handler with spaces": {"handler": "./my program"},
    "a handler in a folder": {"handler": "bin/./run"},
    "a handler with an accent": {"handler": "exécutable"},
    "a handler with dots in its name": {"handler": "..run..out"},
    "empty limits": {"limits": {}},
    "a whole number of seconds": {"limits": {"time": 3}},
    "an empty gpu object": {"gpuCapable": True, "gpu": {}},
    "a compute capability of two digits": {
        "gpuCapable": True,
        "gpu": {"computeCapability": "12.0"},
    },
}


@pytest.mark.parametrize("what", ACCEPTED)
def test_a_config_is_accepted_with(what: str) -> None:
    config = parse_config(config_bytes(**ACCEPTED[what]))
    assert config_as_json(config) == CONFIG | ACCEPTED[what]


WRONG_FIELDS: dict[str, tuple[dict[str, Any], str]] = {
    "an empty name": ({"functionName": ""}, "functionName"),
    "a name of 65 characters": ({"functionName": "a" * 65}, "functionName"),
    "a name with capitals": ({"functionName": "Waiter"}, "functionName"),
    "a name starting with a hyphen": ({"functionName": "-waiter"}, "functionName"),
    "a name ending in a newline": ({"functionName": "waiter\n"}, "functionName"),
    "a name with a slash": ({"functionName": "a/b"}, "functionName"),
    "a name with a NUL": ({"functionName": "a\0"}, "functionName"),
    "a name in another alphabet": ({"functionName": "функция"}, "functionName"),
    "a number as name": ({"functionName": 7}, "functionName"),
    "null as name": ({"functionName": None}, "functionName"),
    "a list as name": ({"functionName": ["waiter"]}, "functionName"),
    "a version of two numbers": ({"functionVersion": "1.0"}, "functionVersion"),
    "a version of four numbers": ({"functionVersion": "1.0.0.0"}, "functionVersion"),
    "a version with a leading zero": ({"functionVersion": "1.01.0"}, "functionVersion"),
    "a version with a suffix": ({"functionVersion": "1.0.0-beta"}, "functionVersion"),
    "a version ending in a newline": ({"functionVersion": "1.0.0\n"}, "functionVersion"),
    "a version with ten digits": ({"functionVersion": "1000000000.0.0"}, "functionVersion"),
    "a version in Arabic digits": ({"functionVersion": "\u0661.0.0"}, "functionVersion"),
    "a number as version": ({"functionVersion": 1.0}, "functionVersion"),
    "an unknown language": ({"language": "rust"}, "language"),
    "a language in capitals": ({"language": "CUDA"}, "language"),
    "a list as language": ({"language": ["cpp"]}, "language"),
    "1 for gpuCapable": ({"gpuCapable": 1}, "gpuCapable"),
    "a string for gpuCapable": ({"gpuCapable": "true"}, "gpuCapable"),
    "null for gpuCapable": ({"gpuCapable": None}, "gpuCapable"),
    "an unknown scope": ({"scope": "internal"}, "scope"),
    "an empty handler": ({"handler": ""}, "handler"),
    "an absolute handler": ({"handler": "/bin/sh"}, "handler"),
    "an absolute handler behind a dot": ({"handler": "//bin/sh"}, "handler"),
    "a handler outside": ({"handler": "../a.out"}, "handler"),
    "a handler that comes back in": ({"handler": "a/../../f/a.out"}, "handler"),
    "a handler that is the folder": ({"handler": "."}, "handler"),
    "a handler that is a folder": ({"handler": "bin/"}, "handler"),
    "a handler ending in a dot": ({"handler": "bin/."}, "handler"),
    "a handler with a NUL": ({"handler": "a\0.out"}, "handler"),
    "a handler with a newline": ({"handler": "a.out\n"}, "handler"),
    "a handler with a lone surrogate": ({"handler": "a\ud800"}, "handler"),
    "a handler with a bidi override": ({"handler": "a\u202e"}, "handler"),
    "a handler without end": ({"handler": "a/" * 600 + "b"}, "handler"),
    "a list as limits": ({"limits": []}, "limits"),
    "null as limits": ({"limits": None}, "limits"),
    "an unknown limit": ({"limits": {"disk": 1}}, "limits.disk"),
    "a time of 0": ({"limits": {"time": 0}}, "limits.time"),
    "a negative time": ({"limits": {"time": -1}}, "limits.time"),
    "true as time": ({"limits": {"time": True}}, "limits.time"),
    "a string as time": ({"limits": {"time": "60"}}, "limits.time"),
    "a memory of 0": ({"limits": {"memory": 0}}, "limits.memory"),
    "a memory with a fraction": ({"limits": {"memory": 1.5}}, "limits.memory"),
    "a memory with a unit": ({"limits": {"memory": "1GiB"}}, "limits.memory"),
    "a memory beyond 64 bits": ({"limits": {"memory": 1 << 63}}, "limits.memory"),
    "a memory of thousands of digits": ({"limits": {"memory": 10**4000}}, "limits.memory"),
    "cpus of 0": ({"limits": {"cpus": 0.0}}, "limits.cpus"),
    "false as cpus": ({"limits": {"cpus": False}}, "limits.cpus"),
    "an output of -1": ({"limits": {"output": -1}}, "limits.output"),
    "processes of 0": ({"limits": {"processes": 0}}, "limits.processes"),
    "a gpu object without gpuCapable": ({"gpu": {"count": 1}}, "gpu"),
    "true as gpu": ({"gpuCapable": True, "gpu": True}, "gpu"),
    "a gpu count of 0": ({"gpuCapable": True, "gpu": {"count": 0}}, "gpu.count"),
    "true as gpu count": ({"gpuCapable": True, "gpu": {"count": True}}, "gpu.count"),
    "a negative gpu memory": ({"gpuCapable": True, "gpu": {"memory": -1}}, "gpu.memory"),
    "an empty gpu name": ({"gpuCapable": True, "gpu": {"name": " "}}, "gpu.name"),
    "a gpu name with a control character": (
        {"gpuCapable": True, "gpu": {"name": "A\x1b100"}},
        "gpu.name",
    ),
    "a number as compute capability": (
        {"gpuCapable": True, "gpu": {"computeCapability": 8.6}},
        "gpu.computeCapability",
    ),
    "a compute capability of one number": (
        {"gpuCapable": True, "gpu": {"computeCapability": "8"}},
        "gpu.computeCapability",
    ),
    "an unknown gpu field": (
        {"gpuCapable": True, "gpu": {"compute_capability": "8.6"}},
        "gpu.compute_capability",
    ),
    "an unknown field": ({"image": "x"}, "image"),
    "a field in the wrong case": ({"Handler": "./a.out"}, "Handler"),
    "an unknown field with an escape sequence": ({"\x1b[2J": 1}, "\\x1b[2J"),
    "an unknown field with a lone surrogate": ({"\ud800": 1}, "\\ud800"),
}


@pytest.mark.parametrize("what", WRONG_FIELDS)
def test_a_config_is_refused_for(what: str) -> None:
    changes, field = WRONG_FIELDS[what]
    problems = problems_of(config_bytes(**changes))
    assert list(problems) == [field]
    problems[field].encode()


TEXT = config_bytes().decode()

WRONG_FILES: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "JSON"),
    "a list": (b"[]", "object"),
    "null": (b"null", "object"),
    "a string": (b'"x"', "object"),
    "two values": (config_bytes() * 2, "JSON"),
    "a trailing comma": (TEXT.replace("}", ",}").encode(), "JSON"),
    "a comment": (b"// config\n" + config_bytes(), "JSON"),
    "a raw newline in a string": (TEXT.replace("waiter", "wai\nter").encode(), "JSON"),
    "NaN": (b'{"limits": {"time": NaN}}', "NaN"),
    "Infinity": (b'{"limits": {"time": -Infinity}}', "Infinity"),
    "a byte order mark": (b"\xef\xbb\xbf" + config_bytes(), "byte order mark"),
    "UTF-16 with its mark": (TEXT.encode("utf-16"), "UTF-16"),
    "UTF-16 without a mark": (TEXT.encode("utf-16-le"), "UTF-16"),
    "UTF-32": (TEXT.encode("utf-32-be"), "UTF-16 or UTF-32"),
    "Latin-1": (TEXT.replace("waiter", "é").encode("latin-1"), "UTF-8"),
    "an encoded surrogate": (config_bytes() + b"\xed\xa0\x80", "UTF-8"),
    "deep nesting": (b'{"a":' * 10_000, "deeply"),
    "deep lists": (b"[" * 60_000, "deeply"),
    "more than 64 KiB": (config_bytes() + b" " * 65_536, "64 KiB"),
}


@pytest.mark.parametrize("what", WRONG_FILES)
def test_a_file_is_refused_for_being(what: str) -> None:
    data, reason = WRONG_FILES[what]
    problems = problems_of(data)
    assert list(problems) == ["hermes.config.json"]
    assert reason in problems["hermes.config.json"]


def test_a_number_beyond_a_double_is_refused_by_its_field() -> None:
    data = config_bytes(limits={"time": 1}).replace(b'"time": 1', b'"time": 1e400')
    assert list(problems_of(data)) == ["limits.time"]


@pytest.mark.parametrize(
    ("data", "field"),
    [
        (config_bytes().replace(b"{", b'{"scope": "private", ', 1), "scope"),
        (config_bytes(limits={"time": 1}).replace(b'"time"', b'"time": 2, "time"'), "limits.time"),
        (
            config_bytes(gpuCapable=True, gpu={"count": 1}).replace(
                b'"count"', b'"count": 2, "count"'
            ),
            "gpu.count",
        ),
    ],
)
def test_a_field_given_twice_is_refused(data: bytes, field: str) -> None:
    assert problems_of(data) == {field: "is given more than once"}


def test_every_problem_is_listed_in_the_order_of_the_fields() -> None:
    data = config_bytes(functionName="A", language="c", limits={"time": 0, "x": 1}, image="i")
    assert list(problems_of(data)) == [
        "functionName",
        "language",
        "limits.time",
        "limits.x",
        "image",
    ]


def test_an_empty_object_lacks_the_four_required_fields() -> None:
    missing = dict.fromkeys(["functionName", "functionVersion", "language", "handler"])
    assert problems_of(b"{}") == dict.fromkeys(missing, "is missing")


def test_thousands_of_unknown_fields_are_not_all_listed() -> None:
    assert len(problems_of(config_bytes(**{f"x{n}": 0 for n in range(3000)}))) == 21


@given(st.binary(max_size=200))
def test_no_bytes_raise_anything_but_a_config_error(data: bytes) -> None:
    with pytest.raises(ConfigError):
        parse_config(data)


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from([*FULL, "other"]), _json))
def test_any_values_give_a_config_that_survives_a_round_trip_or_a_config_error(
    changes: dict[str, Any],
) -> None:
    try:
        config = parse_config(json.dumps(FULL | changes).encode())
    except ConfigError as error:
        assert error.problems
    else:
        assert parse_config(encode_config(config)) == config


def test_limits_above_the_servers_are_named_with_both_numbers() -> None:
    config = parse_config(json.dumps(FULL).encode())
    assert check_limits(config, Limits(memory=1 << 30), max_gpus=2) == []
    problems = check_limits(config, Limits(memory=1000, cpus=0.25), max_gpus=1)
    assert [problem.field for problem in problems] == ["limits.memory", "limits.cpus", "gpu.count"]
    assert "1073741824" in problems[0].message
    assert "1000 bytes" in problems[0].message


def test_limits_of_the_config_stand_before_the_servers_defaults() -> None:
    config = parse_config(config_bytes(limits={"time": 5, "processes": 9}))
    assert effective_limits(config, Limits(cpus=2)) == Limits(time=5, processes=9, cpus=2)
    assert effective_limits(parse_config(config_bytes()), Limits()) == Limits()


def test_a_gpu_object_is_read_alike_outside_the_config() -> None:
    gpu = parse_gpu({"count": 2, "computeCapability": "8.6"})
    assert gpu_request(gpu) == GpuRequest(count=2, compute_capability="8.6")
    assert gpu_request(None) == GpuRequest(count=1)
    for wrong in (True, None, [], {"count": 0}, {"x": 1}):
        with pytest.raises(ConfigError):
            parse_gpu(wrong)
