"""The command with a person at its terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.acceptance.cli.conftest import COMMAND
from tests.support.fake_api import FakeApi
from tests.support.fake_executions import Script
from tests.support.terminal import Terminal

REF = "ana/echo:1.0.0"
ID = "01890000-0000-7000-8000-000000000000"
Open = Callable[..., Terminal]


@pytest.fixture
def terminal(environment: dict[str, str], tmp_path: Path) -> Iterator[Open]:
    opened: list[Terminal] = []

    def open_terminal(*arguments: str) -> Terminal:
        opened.append(Terminal([*COMMAND, *arguments], environment, tmp_path))
        return opened[-1]

    yield open_terminal
    for one in opened:
        one.close()


@pytest.fixture
def running(api: FakeApi, terminal: Open) -> Terminal:
    api.script = Script(output=[("stdout", b"so far", 0.1)], holds=True)
    run = terminal("run", REF, "--input", "x")
    run.expect("so far")
    return run


def test_ctrl_c_asks_and_can_detach(api: FakeApi, running: Terminal) -> None:
    running.type("\x03")
    running.expect("[d/c]")
    running.type("d\n")
    assert running.end() == 130
    assert f"hermes execution tail {ID}".encode() in running.shown
    assert not api.asked("POST", f"/v1/executions/{ID}/cancel")


def test_ctrl_c_can_cancel_and_then_shows_the_end(api: FakeApi, running: Terminal) -> None:
    running.type("\x03")
    running.expect("[d/c]")
    running.type("c\n")
    assert running.end() == 125
    assert running.shown.count(b"so far") == 1
    assert b"hermes: cancelled" in running.shown
    assert len(api.asked("POST", f"/v1/executions/{ID}/cancel")) == 1


def test_a_second_ctrl_c_detaches(api: FakeApi, running: Terminal) -> None:
    running.type("\x03")
    running.expect("[d/c]")
    running.type("\x03")
    assert running.end() == 130
    assert not api.asked("POST", f"/v1/executions/{ID}/cancel")


def test_input_is_asked_for(api: FakeApi, terminal: Open) -> None:
    run = terminal("run", REF)
    run.expect("Input:")
    run.type("5 1 2\n")
    assert run.end() == 0
    assert b'"input":"5 1 2"' in api.asked("POST", "/v1/executions")[0].body


def test_a_password_is_asked_for_twice_and_not_shown(api: FakeApi, terminal: Open) -> None:
    register = terminal("remote", "register")
    register.expect("Username:")
    register.type("bob\n")
    for prompt, password in (
        ("Password:", "a long password"),
        ("again:", "another password"),
        ("Password:", "a long password"),
        ("again:", "a long password"),
    ):
        register.expect(prompt)
        register.type(f"{password}\n")
    assert register.end() == 0
    assert api.passwords["bob"] == "a long password"
    assert b"the passwords differ" in register.shown
    assert b"long" not in register.shown


def test_init_asks_for_what_it_needs(terminal: Open, tmp_path: Path) -> None:
    init = terminal("function", "init")
    for prompt, answer in (("Name:", "mine"), ("Language", "cuda"), ("GPU?", "")):
        init.expect(prompt)
        init.type(f"{answer}\n")
    assert init.end() == 0
    assert '"gpuCapable": true' in (tmp_path / "mine/hermes.config.json").read_text()


@pytest.mark.parametrize(("answer", "left"), [("y", 0), ("n", 1), ("", 1)])
def test_deleting_needs_a_yes(api: FakeApi, terminal: Open, answer: str, left: int) -> None:
    api.add_function("ana/sum:1.0.0")
    delete = terminal("function", "delete", "sum")
    delete.expect("all versions?")
    delete.type(f"{answer}\n")
    assert delete.end() == left
    assert len(api.functions) == left


def test_a_table_is_coloured_unless_refused(api: FakeApi, terminal: Open) -> None:
    api.add_execution(ID, Script())
    coloured = terminal("execution", "list")
    assert coloured.end() == 0
    assert b"\x1b[" in coloured.shown
    plain = terminal("execution", "list", "--no-color")
    assert plain.end() == 0
    assert b"\x1b[" not in plain.shown
    assert b"succeeded" in plain.shown
