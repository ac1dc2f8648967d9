"""What operations work with, joined on an open control plane."""

import contextlib
from collections.abc import AsyncIterator
from typing import Any, Final

from certs.shell.signers import generate_signing_key
from certs.signer import Signer
from controlplane.bootstrap.passwords import Argon2Passwords
from controlplane.bootstrap.plane import Plane
from controlplane.domain.vault import VaultEntry
from controlplane.ports.vault import Vault
from controlplane.services.acts import ActLog
from controlplane.services.judging import PolicyJudge
from controlplane.services.sign_in import Instruments, SignIn
from controlplane.services.tokens import Tokens
from controlplane.store.errors import NotInitialisedError, VaultTakenError
from controlplane.store.seal import KekSeal
from controlplane.store.token_keys import StoredTokenKeys
from controlplane.web.api.context import Workbench

ACTS_KEY: Final = "acts"  # Ed25519, in the vault: signs the heads of act logs
REQUEST_ID_BYTES: Final = 12


async def acts_signer(vault: Vault) -> Signer:
    """The key of the act logs; made when it is first needed, once for all replicas."""
    try:
        return await vault.signer(ACTS_KEY)
    except NotInitialisedError:
        with contextlib.suppress(VaultTakenError):
            await vault.keep(VaultEntry(ACTS_KEY, generate_signing_key()))
        return await vault.signer(ACTS_KEY)


@contextlib.asynccontextmanager
async def workbench(plane: Plane, root_key: Signer | None = None) -> AsyncIterator[Workbench]:
    """What operations work with, on an open control plane; with the root CA's key, when it was brought here."""
    trust_domain = plane.settings.trust_domain
    passwords, seal, judge = Argon2Passwords(), KekSeal(plane.keyring), PolicyJudge(plane.clock)
    instruments = Instruments(plane.store, passwords, seal, plane.clock, plane.chance, trust_domain)
    try:
        yield Workbench(
            store=plane.store,
            clock=plane.clock,
            chance=plane.chance,
            seal=seal,
            acts=ActLog(plane.store, trust_domain, await acts_signer(plane.store.vault), plane.clock),
            tokens=Tokens(StoredTokenKeys(plane.store), trust_domain, plane.clock),
            sign_in=SignIn(instruments),
            trust_domain=trust_domain,
            witness=await plane.setup.witness(),
            door=plane.door,
            silent_ms=plane.silent_ms,
            is_served=plane.is_served,
            describe=_describe,
            authorities=plane.authorities,
            ingresses=plane.ingresses,
            judge=judge,
            root_key=root_key,
        )
    finally:
        passwords.close()
        judge.close()


def _describe() -> dict[str, Any]:
    """OpenAPI; imported when somebody asks, for commands never do."""
    from controlplane.web.api.openapi import document

    return document()
