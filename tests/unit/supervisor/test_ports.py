"""The ports of a data folder."""

from __future__ import annotations

import socket
from pathlib import Path

import msgspec
import pytest

from infra.supervisor.errors import HomeUnusable, PortTaken
from infra.supervisor.ports import choose_ports


def test_ports_are_chosen_once(tmp_path: Path) -> None:
    first = choose_ports(tmp_path / "ports.json", None)
    assert len(set(msgspec.structs.astuple(first))) == 4
    assert choose_ports(tmp_path / "ports.json", None) == first


def test_a_given_port_replaces_the_stored_one_for_good(tmp_path: Path) -> None:
    first = choose_ports(tmp_path / "ports.json", None)
    second = choose_ports(tmp_path / "ports.json", 19_999)
    assert second == msgspec.structs.replace(first, api=19_999)
    assert choose_ports(tmp_path / "ports.json", None) == second


def test_a_taken_internal_port_names_the_file_to_remove(tmp_path: Path) -> None:
    file = tmp_path / "ports.json"
    ports = choose_ports(file, None)
    with (
        socket.create_server(("127.0.0.1", ports.kafka)),
        pytest.raises(PortTaken, match=rf"{ports.kafka} \(kafka\).*remove {file}"),
    ):
        choose_ports(file, None)


def test_the_port_of_a_server_that_is_not_ours_may_be_taken(tmp_path: Path) -> None:
    file = tmp_path / "ports.json"
    ports = choose_ports(file, None)
    with socket.create_server(("127.0.0.1", ports.kafka)):
        assert choose_ports(file, None, unused={"kafka"}) == ports


def test_a_damaged_file_is_a_clear_error(tmp_path: Path) -> None:
    file = tmp_path / "ports.json"
    file.write_text('{"api": "many"}')
    with pytest.raises(HomeUnusable, match=r"ports.json.*remove it"):
        choose_ports(file, None)
