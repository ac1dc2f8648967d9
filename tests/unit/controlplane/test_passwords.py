"""Passwords under argon2id: the parameters that OWASP names, four at a time, off the event loop."""

import asyncio
import threading
import time
from types import SimpleNamespace

import pytest
from argon2 import PasswordHasher, extract_parameters
from argon2.low_level import Type

from controlplane.bootstrap.passwords import AT_ONCE, Argon2Passwords

WORD = "correct horse " + "battery staple"


async def test_a_hash_has_the_parameters_that_are_named() -> None:
    passwords = Argon2Passwords()
    encoded = await passwords.hash(WORD)
    found = extract_parameters(encoded)
    assert (found.type, found.memory_cost, found.time_cost, found.parallelism) == (Type.ID, 19_456, 2, 1)
    assert (found.hash_len, found.salt_len) == (32, 16)
    assert encoded != await passwords.hash(WORD)
    assert not passwords.is_outdated(encoded)
    passwords.close()


async def test_only_the_password_matches() -> None:
    passwords = Argon2Passwords()
    encoded = await passwords.hash(WORD)
    assert await passwords.matches(encoded, WORD)
    for other in (WORD + " ", WORD.upper(), "", "ä"):
        assert not await passwords.matches(encoded, other)
    for broken in ("", "x", encoded[:-1], passwords.nobodys):
        assert not await passwords.matches(broken, WORD)
    passwords.close()


async def test_nobodys_hash_takes_as_long_as_a_real_one() -> None:
    passwords = Argon2Passwords()
    real, nobodys = extract_parameters(await passwords.hash(WORD)), extract_parameters(passwords.nobodys)
    assert real == nobodys
    assert Argon2Passwords().nobodys != passwords.nobodys
    passwords.close()


async def test_older_parameters_are_outdated() -> None:
    passwords = Argon2Passwords()
    assert passwords.is_outdated(PasswordHasher(1, 8192, 1).hash(WORD))
    passwords.close()


async def test_only_so_many_at_once_and_the_loop_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    passwords, running, most, ticks = Argon2Passwords(), [0], [0], [0]
    lock, release = threading.Lock(), threading.Event()

    def hashed(password: str) -> str:
        with lock:
            running[0] += 1
            most[0] = max(most[0], running[0])
        release.wait(10)
        with lock:
            running[0] -= 1
        return password

    monkeypatch.setattr(passwords, "_hasher", SimpleNamespace(hash=hashed))
    waiting = [asyncio.create_task(passwords.hash(str(number))) for number in range(20)]
    until = time.monotonic() + 5
    while running[0] < AT_ONCE and time.monotonic() < until:
        await asyncio.sleep(0)
        ticks[0] += 1
    assert (running[0], ticks[0] > 0) == (AT_ONCE, True)
    release.set()
    assert await asyncio.gather(*waiting) == [str(number) for number in range(20)]
    assert most[0] == AT_ONCE
    passwords.close()
