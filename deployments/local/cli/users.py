"""`chatllm users`: on the same Postgres as `chatllm keys`."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Annotated, TypeVar

import typer

from deployments.infra.postgres.database import Database
from deployments.keys.types import KeyChanges
from deployments.local import keys
from deployments.local.cli.keys import borrowed_postgres
from deployments.users.passwords import Passwords
from deployments.users.postgres import PostgresUsers
from deployments.users.sign_in import SignIn
from deployments.users.store import UserStore, no_user
from deployments.users.types import ID_PREFIX, User, UserChanges, checked_username

users_app = typer.Typer(help="Create, list and change the users who sign in to the chat page.", no_args_is_help=True)

PAGE = 100
T = TypeVar("T")

Who = Annotated[str, typer.Argument(metavar="USERNAME", help="The user's username or id.")]


@users_app.command()
def create(
    username: Annotated[str, typer.Argument(help="What the user signs in with.")],
    name: Annotated[str | None, typer.Option(help="The name that others read; the username if not given.")] = None,
    admin: Annotated[bool, typer.Option("--admin", help="Allow the user to manage users and keys.")] = False,
) -> None:
    """Create a user and print a password, alone. It must be changed at the first sign-in."""
    known = checked_username(username)
    account: KeyChanges = {"name": name or known, "is_admin": admin}

    async def work(users: UserStore) -> str:
        password, hash_ = await _sign_in(users).hashed(known, None)
        await users.create(known, hash_, account, must_change=True)
        return password

    typer.echo(_run(work))


@users_app.command("list")
def list_() -> None:
    """List all users, oldest first."""

    async def work(users: UserStore) -> list[User]:
        return await all_users(users)

    for user in _run(work):
        typer.echo(_line(user))


@users_app.command()
def update(
    user: Who,
    username: Annotated[str | None, typer.Option(help="A new username.")] = None,
    name: Annotated[str | None, typer.Option(help="A new name.")] = None,
    admin: Annotated[bool | None, typer.Option("--admin/--no-admin", help="Whether it is an administrator.")] = None,
) -> None:
    """Change the given settings of a user. The change takes effect within seconds."""
    changes: UserChanges = {} if username is None else {"username": checked_username(username)}
    account: KeyChanges = {}
    if name is not None:
        account["name"] = name
    if admin is not None:
        account["is_admin"] = admin
    _change(user, account, changes)


@users_app.command()
def disable(user: Who) -> None:
    """Disable a user until enabled again: sessions open nothing meanwhile."""
    _change(user, {"disabled_at": datetime.now(UTC)})


@users_app.command()
def enable(user: Who) -> None:
    """Enable a disabled user."""
    _change(user, {"disabled_at": None})


@users_app.command("reset-password")
def reset_password(user: Who) -> None:
    """End a user's sessions and print a new password, alone. It must be changed at the next sign-in."""

    async def work(users: UserStore) -> str:
        return await _sign_in(users).reset((await user_named(users, user)).id)

    typer.echo(_run(work))


def _change(name: str, account: KeyChanges, changes: UserChanges | None = None) -> None:
    async def work(users: UserStore) -> User:
        return await users.update((await user_named(users, name)).id, changes or {}, account)

    typer.echo(_line(_run(work)))


def _run(work: Callable[[UserStore], Awaitable[T]]) -> T:
    async def on(database: Database) -> T:
        return await work(PostgresUsers(database))

    with borrowed_postgres() as url:
        return keys.run_on_database(url, on)


def _sign_in(users: UserStore) -> SignIn:
    return SignIn(users, Passwords(), lambda _: asyncio.sleep(0))


async def user_named(users: UserStore, name: str) -> User:
    """Return the user with a username or id; raises NotFound."""
    if name.startswith(ID_PREFIX):
        return await users.retrieve(name)
    found = await users.password_hash(name.lower())
    if found is None:
        raise no_user(name)
    return found[0]


async def all_users(users: UserStore) -> list[User]:
    """Return all users, oldest first."""
    found: list[User] = []
    while True:
        page = await users.page(found[-1].id if found else None, PAGE)
        found += page.data
        if not page.has_more:
            return found


def _line(user: User) -> str:
    account = user.account
    words = [f"{user.id}  {account.created_at:%Y-%m-%d %H:%M}  {account.state:<8}  {user.username}  {account.name}"]
    words += ["admin"] if account.is_admin else []
    words += ["must change the password"] if user.must_change_password else []
    return "  ".join(words)
