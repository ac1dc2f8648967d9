"""Persons prove who they are: password and authenticator, or a one-time sign-in code with which both are set.

An unknown org, an unknown user, a disabled one, a wrong password and a wrong one-time password get one answer after
the same work. Answers after failures come later, for the user and for the source, right ones too; nobody is locked out.
"""

import asyncio
from base64 import b32encode
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Final

from controlplane.domain import users
from controlplane.domain.errors import NotFoundError
from controlplane.domain.orgs import OPERATOR, OrgNameError
from controlplane.domain.pace import Knock, Patience
from controlplane.domain.rbac import SignInError
from controlplane.domain.sources import block_of
from controlplane.domain.users import OneTimePasswordError, User, UserState
from controlplane.ports.admin import Passwords, Seal
from controlplane.ports.store import OrgSpace, OrgTransaction, Store
from controlplane.ports.world import Chance, Clock
from controlplane.services.even import refused_evenly

NOBODYS_SECRET: Final = "A" * 32  # base32; stands in where there is no user, so that the work is the same
Recorder = Callable[[OrgTransaction, User], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Claimant:
    """Somebody who says who he is; nothing here is believed.

    Attributes:
        source: address of the caller.
    """

    org: str
    name: str
    source: str


@dataclass(frozen=True, slots=True)
class Proof:
    """What a claimant says to prove it, untrusted."""

    password: str = field(repr=False)
    code: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Authenticator:
    """A new authenticator, shown once.

    Attributes:
        secret: base32.
        uri: ``otpauth://…``, for a QR code.
    """

    secret: str = field(repr=False)
    uri: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Instruments:
    """What a sign-in works with.

    Attributes:
        pause: waits for so many seconds.
        issuer: name that authenticator apps show.
    """

    store: Store
    passwords: Passwords
    seal: Seal
    clock: Clock
    chance: Chance
    issuer: str
    pause: Callable[[float], Awaitable[None]] = asyncio.sleep


class SignIn:
    """The use case. One object serves a process: it remembers failures."""

    def __init__(self, instruments: Instruments) -> None:
        self._tools = instruments
        self._patience = Patience()

    async def sign_in(self, who: Claimant, password: str, code: str, record: Recorder) -> User:
        """Believe a person who has password and authenticator.

        Args:
            who: claimant.
            password: untrusted.
            code: six digits, untrusted.
            record: writes the act into the transaction that spends the one-time password.

        Raises:
            SignInError: one answer for every cause.
            PaceError: too many wait already.
        """
        user, knock = await self._wait(who)
        passwords = self._tools.passwords
        usable = user is not None and user.state is UserState.ACTIVE
        known = await passwords.matches(user.password_hash if user and usable else passwords.nobodys, password)
        async with refused_evenly(self._tools.clock):  # a count is written or not; the moment does not tell
            found = await self._prove(who, user if usable and known else None, Proof(password, code), record)
            if found is None:
                raise SignInError(
                    "user, password or one-time password is not right",
                    next_step="check all three; a one-time password works once, so wait for the next one",
                )
        self._patience.succeeded(knock)
        return found

    async def begin(self, who: Claimant, code: str, password: str) -> Authenticator:
        """With a sign-in code: set a password and get an authenticator, neither of which counts before ``confirm``.

        Raises:
            PasswordError: of the new password.
            SignInCodeError: the code.
            PaceError: too many wait already.
        """
        users.checked_password(password, who.name)
        found, knock = await self._wait(who)
        hashed = await self._tools.passwords.hash(password)
        user = users.require_code(found, code, self._tools.clock.now_ms())
        self._patience.passed(knock)
        secret, shown = self._authenticator(who.org, user)
        async with self._tools.store.for_org(who.org).write() as transaction:
            fresh = users.require_code(await transaction.users.find(user.id), code, self._tools.clock.now_ms())
            sealed = self._tools.seal.close(_purpose(who.org, user), secret.encode())
            await transaction.users.save(replace(fresh, new_password_hash=hashed, new_totp=sealed))
        return shown

    async def confirm(self, who: Claimant, code: str, otp: str, record: Recorder) -> User:
        """The new authenticator answers: password and authenticator count from now on, and the code is spent.

        Raises:
            SignInCodeError: the code, or ``begin`` was not called with it.
            OneTimePasswordError: the authenticator's answer.
        """
        found, knock = await self._wait(who)
        user = users.require_code(found, code, self._tools.clock.now_ms())
        step = self._step(who.org, user, user.new_totp, otp, 0)
        if not step or not user.new_password_hash:
            raise wrong_answer()
        self._patience.passed(knock)
        async with self._tools.store.for_org(who.org).write() as transaction:
            fresh = users.require_code(await transaction.users.find(user.id), code, self._tools.clock.now_ms())
            if fresh != user:  # another call began anew meanwhile: its authenticator has to answer
                raise wrong_answer()
            active = users.activated(user, step, self._tools.clock.now_ms())
            await transaction.users.save(active)
            await record(transaction, active)
        return active

    async def change_authenticator(self, who: Claimant, password: str, code: str, record: Recorder) -> Authenticator:
        """A signed-in person gets another authenticator; the old one counts until the new one answers.

        Raises:
            SignInError: password or one-time password of the old one.
        """
        user = await self.sign_in(who, password, code, record)
        secret, shown = self._authenticator(who.org, user)
        async with self._tools.store.for_org(who.org).write() as transaction:
            fresh = await transaction.users.find(user.id)
            await transaction.users.save(
                replace(fresh, new_totp=self._tools.seal.close(_purpose(who.org, user), secret.encode()))
            )
        return shown

    async def confirm_authenticator(self, who: Claimant, otp: str, record: Recorder) -> User:
        """The other authenticator answers and takes the old one's place. Raises OneTimePasswordError."""
        async with self._tools.store.for_org(who.org).write() as transaction:
            user = await transaction.users.find(who.name)
            step = self._step(who.org, user, user.new_totp, otp, 0)
            if not step:
                raise wrong_answer()
            changed = replace(user, totp=user.new_totp, totp_step=step, new_totp=b"")
            await transaction.users.save(changed)
            await record(transaction, changed)
        return changed

    async def _prove(self, who: Claimant, user: User | None, proof: Proof, record: Recorder) -> User | None:
        """The user whose password was right, or None; one transaction judges and counts his one-time password."""
        if user is None:
            self._step(who.org, None, b"", proof.code, 0)
            return None
        passwords, kept = self._tools.passwords, user.password_hash
        hashed = await passwords.hash(proof.password) if passwords.is_outdated(kept) else kept
        now_ms = self._tools.clock.now_ms()
        async with self._tools.store.for_org(who.org).write() as transaction:
            fresh = await transaction.users.find(user.id)
            if (fresh.version, fresh.password_hash) != (user.version, kept) or users.is_guessed_at(fresh, now_ms):
                return None
            step = self._step(who.org, fresh, fresh.totp, proof.code, fresh.totp_step)
            if not step:
                if not self._step(who.org, fresh, fresh.totp, proof.code, 0):  # one that was used is no guess
                    await transaction.users.save(users.with_wrong_code(fresh, now_ms))
                return None
            signed_in = replace(fresh, totp_step=step, signed_in_ms=now_ms, password_hash=hashed, new_totp=b"")
            await transaction.users.save(signed_in)
            await record(transaction, signed_in)
        return signed_in

    async def _wait(self, who: Claimant) -> tuple[User | None, Knock]:
        """The user who is named, if there is one, once it is his turn. Raises PaceError."""
        user = await self._user(who)
        name = f"{who.org}/{user.id if user is not None else who.name}"
        knock = Knock(name, user is not None, block_of(who.source))
        seconds = self._patience.begin(knock, self._tools.clock.monotonic())
        if not seconds:
            return user, knock
        await self._tools.pause(seconds)
        return await self._user(who), knock  # he may have been reset meanwhile

    async def _user(self, who: Claimant) -> User | None:
        """The user of this name; for an unknown org the operator's space is asked in vain, which takes as long."""
        space, exists = await self._space(who.org)
        async with space.read() as transaction:
            found = await transaction.users.named(who.name)
        return found if exists else None

    async def _space(self, org: str) -> tuple[OrgSpace, bool]:
        store = self._tools.store
        try:
            space = store.for_org(org)
            async with space.read():
                return space, True
        except (OrgNameError, NotFoundError):
            return store.for_org(OPERATOR), False

    def _authenticator(self, org: str, user: User) -> tuple[str, Authenticator]:
        secret = b32encode(self._tools.chance.token_bytes(users.TOTP_SECRET_BYTES)).decode()
        return secret, Authenticator(secret, users.otpauth_uri(secret, user.name, org, self._tools.issuer))

    def _step(self, org: str, user: User | None, sealed: bytes, code: str, used: int) -> int:
        secret = NOBODYS_SECRET
        if user is not None and sealed:
            secret = self._tools.seal.open(_purpose(org, user), sealed).decode()
        found = users.matching_step(secret, code, self._tools.clock.now_ms() // 1000, used)
        return found if user is not None and sealed else 0


def wrong_answer() -> OneTimePasswordError:
    """The authenticator's answer is not right."""
    return OneTimePasswordError(
        "the one-time password is not that of the new authenticator",
        field="totp",
        next_step="read it again; if it stays wrong, check the clock of the device",
    )


def _purpose(org: str, user: User) -> str:
    return f"totp/{org}/{user.id}"
