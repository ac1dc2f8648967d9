"""Machines with identities on the real store, and how refusals are expected."""

from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from certs import recover
from certs.csr import build_request
from certs.errors import TrustError
from certs.join_token import parse
from certs.shell.signers import generate_tls_key
from controlplane.domain.boots import Hello
from controlplane.domain.errors import ControlPlaneError
from controlplane.domain.outposts import Act, Outpost
from controlplane.services.identity import Principal
from controlplane.services.recover import Recovered, RecoveryCall
from tests.unit.controlplane.bed import Bed, Log, ask

DAY_MS = 24 * 3600 * 1000
MINUTE_MS = 60_000
AWAY = "198.51.100.2"


def boot(counter: int, chance: str = "0") -> str:
    return f"{counter:08x}" + chance * 24


def refused(code: str) -> AbstractContextManager[Any]:
    class Refused:
        def __enter__(self) -> None:
            return None

        def __exit__(self, kind: object, error: object, trace: object) -> bool:
            assert isinstance(error, ControlPlaneError | TrustError), error
            assert error.code == code
            return True

    return Refused()


@dataclass
class Machine:
    """An outpost that enrolled, and whatever it was issued since."""

    plane: Bed
    key: ec.EllipticCurvePrivateKey
    chain: tuple[bytes, ...]
    sequence: int
    log: Log
    id: str
    name: str = "prod"
    source: str = "192.0.2.1"
    principals: list[Principal] = field(default_factory=list)

    @classmethod
    async def enroll(cls, plane: Bed, name: str = "prod", token: str = "", log: Log | None = None) -> "Machine":
        key, log = generate_tls_key(), log or Log("", "")
        spent = parse(token) if token else await plane.token(name=name)
        call = plane.call(spent, build_request(key), audit_public_key=log.public_key)
        enrolled = await plane.enrollment.enroll(call)
        told = enrolled.outpost
        return cls(plane, key, enrolled.chain.leaf_and_issuers, told.join_sequence, log, told.id, name)

    @property
    def serial(self) -> str:
        return f"{x509.load_der_x509_certificate(self.chain[0]).serial_number:x}"

    async def use(self, act: Act = Act.SYNC) -> Principal:
        return await self.plane.gatekeeper.identify(self.chain, act)

    async def hello(self, boot_id: str) -> None:
        principal = await self.use()
        await self.plane.words.hello(principal, Hello(boot_id, "1", self.source))
        await self.plane.views.refresh("acme")

    async def renew(self) -> "Machine":
        key = generate_tls_key()
        call = ask(build_request(key), self.sequence, boot(1), self.source)
        renewed = await self.plane.renewal.renew(await self.use(Act.RENEW), call)
        return replace(self, key=key, chain=renewed.chain.leaf_and_issuers, sequence=renewed.join_sequence)

    def proof(self, csr: bytes, **changes: Any) -> RecoveryCall:
        nonce, _ = self.plane.recovery.challenge("acme", self.id)
        claim = recover.RecoverClaim("acme", self.id, nonce, csr, self.sequence, boot(1))
        proof = self.key.sign(recover.recover_message(claim), ec.ECDSA(hashes.SHA256()))
        values: dict[str, Any] = {
            "org": "acme",
            "outpost_id": self.id,
            "nonce": nonce,
            "csr_der": csr,
            "join_sequence": self.sequence,
            "serial": self.serial,
            "proof": proof,
            "boot_id": boot(1),
            "caller_ms": 0,
            "source": self.source,
        }
        return RecoveryCall(**{**values, **changes})

    async def recover(self) -> "Machine":
        key = generate_tls_key()
        recovered = await self.plane.recovery.recover(self.proof(build_request(key)))
        return self.after(key, recovered)

    def after(self, key: ec.EllipticCurvePrivateKey, recovered: Recovered) -> "Machine":
        return replace(self, key=key, chain=recovered.chain.leaf_and_issuers, sequence=recovered.join_sequence)

    async def row(self) -> Outpost:
        return (await self.plane.administration.show("acme", self.id)).outpost
