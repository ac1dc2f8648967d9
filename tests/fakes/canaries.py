"""Made-up values of every kind that detectors look for, different in each run, and a search for their traces."""

import base64
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from certs import keys
from certs.shell.signers import generate_tls_key

UPPER = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
DIGITS = "0123456789"
WORD = (UPPER + UPPER.lower() + DIGITS).replace("x", "").replace("X", "")  # xxxx marks a sample
MIN_TRACE = 8  # characters; shorter ones stand anywhere by chance
MIN_BARE = 11  # of a value without its separators: nine digits stand in some number by chance

# What the first configuration of an org does with each kind.
BLOCKED = ("credit_card", "us_ssn", "aws_access_key", "api_key", "jwt", "connection_string", "password", "private_key")
REDACTED = ("email", "iban", "phone", "ip_address", "mac_address")


def luhn(digits: str) -> str:
    """The digit that completes a card number."""
    total = 0
    for place, digit in enumerate(reversed(digits)):
        value = int(digit) * (2 if place % 2 == 0 else 1)
        total += value - 9 if value > 9 else value
    return str(-total % 10)


@dataclass
class Canaries:
    """Makes values and remembers every one.

    Attributes:
        made: value to the place that it was made for.
    """

    chance: random.Random = field(default_factory=random.SystemRandom)
    made: dict[str, str] = field(default_factory=dict)

    def pick(self, alphabet: str, size: int) -> str:
        return "".join(self.chance.choice(alphabet) for _ in range(size))

    def value(self, kind: str, place: str) -> str:
        """A fresh value of a kind."""
        made = str(getattr(self, f"_{kind}")())
        self.made[made] = f"{kind} in {place}"
        return made

    def sentence(self, kind: str, place: str) -> str:
        """The value in words that tell what it is."""
        value = self.value(kind, place)
        words = {"us_ssn": "my ssn is {}", "phone": "my phone is {}", "password": "password: {}"}
        return f"please note {words.get(kind, 'it is {}').format(value)} thank you"

    def traces(self) -> Iterator[tuple[str, bytes]]:
        """What must be found nowhere: every value, also without its separators and inside JSON."""
        for value, place in self.made.items():
            bare = re.sub(r"[^A-Za-z0-9]", "", value)
            escaped = value.replace("\n", "\\n")
            yield from ((place, text.encode()) for text in {value, escaped} if len(text) >= MIN_TRACE)
            if len(bare) >= MIN_BARE:
                yield place, bare.encode()

    def found_in(self, data: bytes) -> list[str]:
        """The places whose values stand in some bytes."""
        return sorted({place for place, trace in self.traces() if trace in data})

    def _credit_card(self) -> str:
        digits = "4" + self.pick(DIGITS, 14)
        digits += luhn(digits)
        return " ".join(digits[at : at + 4] for at in range(0, 16, 4))

    def _us_ssn(self) -> str:
        return f"{self.chance.randint(200, 650)}-{self.chance.randint(11, 99)}-{self.chance.randint(1001, 9999)}"

    def _email(self) -> str:
        return f"{self.pick(UPPER.lower(), 9)}.{self.pick(UPPER.lower(), 7)}@{self.pick(UPPER.lower(), 8)}.org"

    def _iban(self) -> str:
        account = self.pick(DIGITS, 18)
        check = 98 - int(account + "131400") % 97
        return f"DE{check:02d}{account}"

    def _phone(self) -> str:
        return f"+44 20 7946 {self.chance.randint(1000, 9999)} {self.chance.randint(10, 99)}"[:16]

    def _ip_address(self) -> str:
        return f"41.{self.chance.randint(100, 250)}.{self.chance.randint(100, 250)}.{self.chance.randint(100, 250)}"

    def _mac_address(self) -> str:
        return "00:1a:" + ":".join(f"{self.chance.randint(16, 250):02x}" for _ in range(4))

    def _aws_access_key(self) -> str:
        return "AKIA" + self.pick(UPPER[:14] + "2345", 16)

    def _api_key(self) -> str:
        return "ghp" + "_" + self.pick(WORD, 34) + self.pick(DIGITS, 2)

    def _jwt(self) -> str:
        head = base64.urlsafe_b64encode(b'{"alg":"HS256"}').rstrip(b"=").decode()
        claims = base64.urlsafe_b64encode(f'{{"sub":"{self.pick(DIGITS, 9)}"}}'.encode()).rstrip(b"=").decode()
        return f"{head}.{claims}.{self.pick(WORD, 43)}"

    def _connection_string(self) -> str:
        return f"postgres://app:{self.pick(WORD, 14)}@{self.pick(UPPER.lower(), 8)}.internal:5432/app"

    def _password(self) -> str:
        return f"Tr0{self.pick(WORD, 10)}!7"

    def _private_key(self) -> str:
        return keys.private_key_pem(generate_tls_key()).decode().strip()

    def _marker(self) -> str:
        """A word that no detector knows."""
        return f"zq{self.pick(UPPER.lower(), 14)}qz"


def files_with(canaries: Canaries, folder: Path) -> dict[str, list[str]]:
    """Files below a folder that hold traces."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.is_symlink():
            places = canaries.found_in(path.read_bytes())
            if places:
                found[str(path.relative_to(folder))] = places
    return found
