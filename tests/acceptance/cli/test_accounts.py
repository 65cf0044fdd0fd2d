from __future__ import annotations

import json
import stat
from pathlib import Path

from tests.acceptance.cli.conftest import Hermes
from tests.support.fake_api import FakeApi

NO_TOKEN = {"HERMES_TOKEN": ""}
PASSWORD = b"correct horse battery\n"


def stored(tmp_path: Path) -> dict[str, object]:
    document = json.loads((tmp_path / "config/hermes/config.json").read_bytes())
    assert isinstance(document, dict)
    return document


def test_logging_in_keeps_a_token_for_this_url_alone(
    api: FakeApi, hermes: Hermes, tmp_path: Path
) -> None:
    result = hermes("remote", "login", "ana", "--password-stdin", stdin=PASSWORD, env=NO_TOKEN)
    assert (result.code, result.text) == (0, "Logged in as ana\n")
    assert stored(tmp_path) == {"tokens": {api.url: "token-of-ana"}}
    file = tmp_path / "config/hermes/config.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert hermes("remote", "whoami", env=NO_TOKEN).text == "You're ana\n"


def test_registering_logs_in(api: FakeApi, hermes: Hermes) -> None:
    result = hermes(
        "remote:register", "bob", "--password-stdin", "--json", stdin=b"x" * 12, env=NO_TOKEN
    )
    assert result.json["username"] == "bob"
    assert hermes("remote", "whoami", env=NO_TOKEN).text == "You're bob\n"
    again = hermes("remote", "register", "bob", "--password-stdin", stdin=b"x" * 12)
    assert again.code == 5


def test_a_wrong_password_ends_with_three(api: FakeApi, hermes: Hermes, tmp_path: Path) -> None:
    result = hermes("remote", "login", "ana", "--password-stdin", stdin=b"wrong password")
    assert (result.code, result.stderr) == (3, "hermes: Wrong username or password\n")
    assert not (tmp_path / "config/hermes/config.json").exists()


def test_a_password_is_never_asked_for_without_a_terminal(api: FakeApi, hermes: Hermes) -> None:
    for arguments in (["login", "ana"], ["register", "ana"], ["unregister", "--yes"]):
        result = hermes("remote", *arguments)
        assert result.code == 2
        assert "--password-stdin" in result.stderr
    assert hermes("remote", "login", "--password-stdin", stdin=PASSWORD).code == 2
    assert hermes("remote", "login", "ana", "--password-stdin", stdin=b"").code == 2


def test_nobody_is_told_who_they_are_without_a_token(api: FakeApi, hermes: Hermes) -> None:
    result = hermes("remote", "whoami", env=NO_TOKEN)
    assert result.code == 3
    assert result.stderr.endswith("log in with: hermes remote login\n")


def test_logging_out_revokes_and_forgets(api: FakeApi, hermes: Hermes, tmp_path: Path) -> None:
    hermes("remote", "login", "ana", "--password-stdin", stdin=PASSWORD, env=NO_TOKEN)
    assert hermes("remote", "logout", "--json", env=NO_TOKEN).json == {"logged_out": True}
    assert not api.tokens
    assert stored(tmp_path) == {"tokens": {}}
    assert hermes("remote", "logout", env=NO_TOKEN).code == 0


def test_unregistering_deletes_the_account(api: FakeApi, hermes: Hermes) -> None:
    arguments = ["remote", "unregister", "--yes", "--password-stdin"]
    assert hermes(*arguments, stdin=b"not this one").code == 3
    assert hermes(*arguments, "--json", stdin=PASSWORD).json == {"deleted": "ana"}
    assert not api.passwords


def test_a_token_can_come_from_a_file(api: FakeApi, hermes: Hermes, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("token-of-ana\n")
    assert hermes("remote", "whoami", "--token-file", "token", env=NO_TOKEN).code == 0
    assert hermes("--token-file", "token", "remote", "whoami", env=NO_TOKEN).code == 0
    (tmp_path / "token").write_text("two\r\nheaders: injected")
    assert hermes("remote", "whoami", "--token-file", "token", env=NO_TOKEN).code == 2
    assert hermes("remote", "whoami", "--token-file", "missing", env=NO_TOKEN).code == 2


def test_a_token_never_crosses_a_network_in_clear(api: FakeApi, hermes: Hermes) -> None:
    result = hermes("remote", "whoami", "--url", "http://192.0.2.1:9090")
    assert result.code == 2
    assert "https://" in result.stderr
    login = hermes(
        "remote", "login", "ana", "--password-stdin", "--url", "http://hermes.test", stdin=PASSWORD
    )
    assert login.code == 2


def test_a_damaged_client_file_is_told(api: FakeApi, hermes: Hermes, tmp_path: Path) -> None:
    (tmp_path / "config/hermes").mkdir(parents=True)
    (tmp_path / "config/hermes/config.json").write_text("{")
    result = hermes("remote", "whoami", env=NO_TOKEN)
    assert result.code == 1
    assert "client file is damaged" in result.stderr
