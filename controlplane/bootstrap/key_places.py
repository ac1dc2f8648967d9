"""Where the keys of CAs live: sealed in the vault, or in a PKCS#11 token that they never leave."""

from collections.abc import Callable, Mapping
from pathlib import Path

from certs.keys import PrivateKey
from certs.shell.pkcs11 import KeyToken, TokenKeyKind
from certs.shell.signers import generate_tls_key
from certs.shell.token_session import TokenPlace
from certs.signer import KeySigner, Signer
from controlplane.domain.vault import KeyKind, KeyLabel
from controlplane.ports.world import Chance
from controlplane.settings import Settings

LABEL_CHANCE_BYTES = 8  # keeps labels of two control planes, and of an init that was cut off, apart in one token


class VaultKeys:
    """Adapter of ``ports.authorities.KeyMaker``: keys that the vault seals."""

    def make(self, name: str) -> tuple[PrivateKey | KeyLabel, Signer]:
        """A fresh key."""
        key = generate_tls_key()
        return key, KeySigner(key)


class TokenKeys:
    """Adapter of ``ports.authorities.KeyMaker``: keys that are made in a token, sensitive and not extractable."""

    def __init__(self, token: KeyToken, chance: Chance) -> None:
        self._token = token
        self._chance = chance

    def make(self, name: str) -> tuple[PrivateKey | KeyLabel, Signer]:
        """A fresh key in the token; the vault keeps its label."""
        label = f"outpost {name} {self._chance.token_bytes(LABEL_CHANCE_BYTES).hex()}"
        return KeyLabel(label), self._token.create_key(label, TokenKeyKind.P256)


def token_of(folder: Path, settings: Settings) -> KeyToken | None:
    """The token that the settings name; it is opened at the first use."""
    if not settings.pkcs11_module:
        return None
    pin_file = folder / settings.pkcs11_pin_file
    return KeyToken(TokenPlace(Path(settings.pkcs11_module), settings.pkcs11_token, pin_file))


def openers(token: KeyToken | None) -> Mapping[str, Callable[[str], Signer]]:
    """How to reach keys that are not in the vault itself; each is opened once."""
    if token is None:
        return {}
    opened: dict[str, Signer] = {}

    def open_key(label: str) -> Signer:
        if label not in opened:
            opened[label] = token.open_key(label)
        return opened[label]

    return {KeyKind.PKCS11.value: open_key}
