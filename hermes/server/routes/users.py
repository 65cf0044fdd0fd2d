"""Accounts and their tokens."""

from __future__ import annotations

import asyncio
import re

from aiohttp import web

from hermes.domain import events as ev
from hermes.domain.times import timestamp
from hermes.errors import AlreadyExists, FieldProblem, InvalidCredentials
from hermes.server.accounts.passwords import MAX_BYTES, MIN_BYTES
from hermes.server.call import Call, json_response, no_content
from hermes.server.json_body import Fields, fields_of, read_body
from streams.log import new_event

_USERNAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,38}\Z")
_BODY = 4096


async def register(call: Call) -> web.StreamResponse:
    """POST /users: a new account, logged in."""
    services = call.services
    fields = fields_of(await read_body(call.request, _BODY))
    username = _username(fields)
    password = _password(fields)
    fields.check()
    services.registrations.take(call.address, "registrations from this address")
    if await services.accounts.exists(username):
        # Not worth 64 MiB of hashing; registering tells anyway that a name is taken.
        raise AlreadyExists(
            f"the username {username} is taken", (FieldProblem("username", "is taken"),)
        )
    hashed = await services.passwords.hash(password)
    account = await services.accounts.register(username, hashed)
    token = await services.accounts.new_token(account)
    return json_response(
        {"user": account.shape, "token": token.text, "expires_at": timestamp(token.expires_at)},
        201,
        {"Location": "/v1/users/me"},
    )


async def log_in(call: Call) -> web.StreamResponse:
    """POST /tokens: a new token."""
    services = call.services
    fields = fields_of(await read_body(call.request, _BODY))
    username = fields.text("username", required=True) or ""
    password = fields.text("password", required=True) or ""
    fields.check()
    key = (username[:64], call.address)
    async with services.logins.of(key):
        services.failed_logins.check(key)
        account, hashed = (
            await services.accounts.with_password(username)
            if _USERNAME.match(username)
            else (None, None)
        )
        if not await services.passwords.matches(hashed, password) or account is None:
            services.failed_logins.failed(key)
            raise InvalidCredentials
        services.failed_logins.succeeded(key)
    token = await services.accounts.new_token(account)
    return json_response(
        {"user": account.shape, "token": token.text, "expires_at": timestamp(token.expires_at)}, 201
    )


async def log_out(call: Call) -> web.StreamResponse:
    """DELETE /tokens/current."""
    await call.services.accounts.revoke(call.token)
    return no_content()


async def me(call: Call) -> web.StreamResponse:
    """GET /users/me."""
    return json_response(call.user.shape)


async def unregister(call: Call) -> web.StreamResponse:
    """DELETE /users/me: the account, its tokens and its functions; history stays in the log."""
    services, user = call.services, call.user
    fields = fields_of(await read_body(call.request, _BODY))
    password = fields.text("password", required=True) or ""
    fields.check()
    key = (user.username, call.address)
    async with services.logins.of(key):
        services.failed_logins.check(key)
        _, hashed = await services.accounts.with_password(user.username)
        if not await services.passwords.matches(hashed, password):
            services.failed_logins.failed(key)
            raise InvalidCredentials("wrong password")
    await _delete_functions(call)
    await services.accounts.delete(user)
    return no_content()


async def _delete_functions(call: Call) -> None:
    registry, writer = call.services.registry, call.services.writer
    owned = [
        state
        for versions in registry.state.functions.values()
        for state in versions.values()
        if state.owner_id == call.user.id and state.status != "deleted"
    ]
    await asyncio.gather(
        *(
            registry.append(
                writer,
                f"{state.owner}/{state.name}",
                new_event(ev.FunctionDeleted(version=state.version), call.user.actor),
            )
            for state in owned
        )
    )


def _username(fields: Fields) -> str:
    username = fields.text("username", required=True)
    if username is not None and not _USERNAME.match(username):
        fields.problem(
            "username", "must be 1 to 39 of a-z, 0-9, `_` and `-`, not starting with `_` or `-`"
        )
    return username or ""


def _password(fields: Fields) -> str:
    password = fields.text("password", required=True)
    if password is not None and not MIN_BYTES <= len(password.encode()) <= MAX_BYTES:
        fields.problem("password", f"must have {MIN_BYTES} to {MAX_BYTES} bytes")
    return password or ""
