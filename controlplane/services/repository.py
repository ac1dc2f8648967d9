"""The signing side of an org's TUF repository.

Bytes in, bytes out: each act takes the current set and returns the next one whole, which the store keeps in one
transaction. Who must sign is read from the stored metadata, never assumed: some keys are here behind the Signer port,
others may be the customer's. What is here signs; for the rest a ceremony is prepared, and taken back once it is signed.
Time is an argument. What an outpost would refuse is refused here, before anything is signed.

Roles: ``root`` (three keys, two must sign) → ``targets`` → the terminating delegations policy, vendor, access,
rollout, each with its own path prefix → ``snapshot`` → ``timestamp``.

Source: TUF 1.0.34 §3 and §6.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from certs.keys import require_signing_key
from certs.signer import Signer
from controlplane.domain.ceremony import KEYS, RELEASE, Ceremony, Part, layout_after, require_fresh, taken_over
from controlplane.domain.errors import ConfigurationError
from controlplane.domain.releases import Changes
from controlplane.services.payloads import (
    ALL_ROLES,
    VALIDITY_MS,
    Layout,
    Payloads,
    expires_ms,
    layout_of,
    newest_root,
    stored,
)
from controlplane.services.publishable import merged, require_publishable, require_successor
from outpost.core.bundle import names
from outpost.core.bundle.errors import BadSignatureError, SignatureError
from outpost.core.bundle.metadata import TOP_LEVEL, tuf_key_id
from outpost.core.bundle.release import RoleKeys, SignedSet

RENEW_SHARE = 2
"""A role is signed again once less than 1/RENEW_SHARE of its validity is left."""
ROOT_THRESHOLD = 2
LEAP = 2**20
"""Versions that a restored repository leaps over: more than any outpost can have seen since the backup."""


class SignerMissingError(ConfigurationError):
    """Keys of a role are elsewhere, and what is here does not reach its threshold."""

    code = "repository.signer_missing"


class SignerMismatchError(ConfigurationError):
    """A signer signs wrongly."""

    code = "repository.signer_mismatch"


@dataclass(frozen=True, slots=True)
class _Next:
    """A set in the making.

    Attributes:
        current: what stands.
        layout: who signs from now on.
        documents: every document of the next set.
        due: roles that must be signed again, without snapshot and timestamp.
        step: by how much versions rise; more than one only after a restore.
    """

    current: SignedSet
    layout: Layout
    documents: Mapping[str, bytes]
    due: frozenset[str]
    step: int = 1


class Repository:
    """Signs one org's configuration.

    Args:
        org: named in every file.
        signers: role name to the signers that are here; those that the metadata does not name are not used.
    """

    def __init__(self, org: str, signers: Mapping[str, Sequence[Signer]]) -> None:
        self._org = org
        self._by_role = {role: {_key_id(each): each for each in mine} for role, mine in signers.items()}
        self._signers = {key_id: signer for mine in self._by_role.values() for key_id, signer in mine.items()}

    def create(
        self, documents: Mapping[str, bytes], now_ms: int, thresholds: Mapping[str, int] | None = None
    ) -> SignedSet:
        """Make the repository with its first release; all keys are here.

        Args:
            documents: target path to canonical bytes; all required ones.
            now_ms: Unix milliseconds.
            thresholds: role name to the number of keys that must sign; default 2 for root, 1 for others.

        Raises:
            UnpublishableError: an outpost would refuse the documents.
            SignerMissingError: a role has fewer signers than its threshold.
        """
        require_publishable(documents, self._org)
        wanted = {names.ROOT: ROOT_THRESHOLD} | dict(thresholds or {})
        layout = {role: self._own_keys(role, wanted.get(role, 1)) for role in ALL_ROLES}
        due = frozenset({names.ROOT, names.TARGETS, *names.DELEGATED_ROLES})
        following = _Next(SignedSet({}, {}), layout, documents, due)
        return self._complete(following, self._parts(following, now_ms), now_ms)

    def publish(self, current: SignedSet, changes: Changes, now_ms: int) -> SignedSet:
        """Sign changed documents, of one or several roles together, into one new snapshot.

        Args:
            current: the newest set.
            changes: target path to new canonical bytes, or None to take the file away; other files stay.
            now_ms: Unix milliseconds.

        Returns:
            The next set; roles without a change keep their version.

        Raises:
            UnpublishableError: an outpost would refuse the documents.
            LooseningError: online documents loosen what is in force.
            ReleaseVersionError: a release changed under its version, or is not higher than those before.
            SignerMissingError: a changed role's keys are elsewhere: prepare a ceremony.
            RepositoryCorruptError: ``current`` cannot be read.
        """
        layout = layout_of(current.metadata)
        following = self._following(current, changes, layout, now_ms)
        following = replace(following, due=following.due | self._aged(current, layout, now_ms))
        return self._complete(following, self._parts(following, now_ms), now_ms)

    def refresh(self, current: SignedSet, now_ms: int, validity_ms: int = 0) -> SignedSet:
        """Sign a fresh timestamp, and again each other role that has aged and whose keys are here.

        Args:
            current: the newest set.
            now_ms: Unix milliseconds.
            validity_ms: of the timestamp; the usual day when 0.

        Raises:
            SignerMissingError: the keys of timestamp or snapshot are not here.
            RepositoryCorruptError: ``current`` cannot be read.
        """
        layout = layout_of(current.metadata)
        following = _Next(current, layout, current.targets, self._aged(current, layout, now_ms))
        return self._complete(following, self._parts(following, now_ms), now_ms, validity_ms)

    def leap(self, current: SignedSet, changes: Changes, by: int, now_ms: int) -> SignedSet:
        """Sign every role whose keys are here under a version that is higher by ``by``.

        After a restore: outposts have seen newer versions than the backup has. Roots cannot leap, and neither can
        roles whose keys are elsewhere.

        Raises:
            UnpublishableError: an outpost would refuse the documents.
            SignerMissingError: the keys of timestamp or snapshot are not here.
        """
        layout = layout_of(current.metadata)
        documents = merged(current.targets, changes)
        require_publishable(documents, self._org)
        due = frozenset(role for role in (names.TARGETS, *names.DELEGATED_ROLES) if self.can_sign(layout[role]))
        following = _Next(current, layout, documents, due, by)
        return self._complete(following, self._parts(following, now_ms), now_ms)

    def propose_keys(self, current: SignedSet, layout: Layout, renewed: frozenset[str], now_ms: int) -> Ceremony:
        """Prepare other keys or thresholds for any roles, or fresh signatures of those that age.

        What can be signed here is signed. Documents stay as they are.

        Args:
            current: the newest set.
            layout: role name to its new keys, for the roles that change.
            renewed: roles to be signed again although nothing of theirs changes.
            now_ms: Unix milliseconds.

        Raises:
            RepositoryCorruptError: ``current`` cannot be read.
        """
        before = layout_of(current.metadata)
        after = {**before, **layout}
        changed = {role for role in ALL_ROLES if after[role] != before[role]}
        due = (changed | renewed) - {names.SNAPSHOT, names.TIMESTAMP}
        if changed & set(TOP_LEVEL):
            due.add(names.ROOT)
        if changed & {names.TARGETS, *names.DELEGATED_ROLES}:
            due.add(names.TARGETS)
        following = _Next(current, after, current.targets, frozenset(due))
        return self._ceremony(KEYS, following, now_ms)

    def propose_release(self, current: SignedSet, changes: Changes, now_ms: int) -> Ceremony:
        """Prepare changed policy documents for those who hold the keys of the policy role.

        Raises:
            UnpublishableError, LooseningError, ReleaseVersionError: as ``publish``.
        """
        following = self._following(current, changes, layout_of(current.metadata), now_ms)
        return self._ceremony(RELEASE, following, now_ms)

    def adopt(self, current: SignedSet, ceremony: Ceremony, changes: Changes, now_ms: int) -> SignedSet:
        """Take a signed ceremony over into the next set.

        Args:
            current: the newest set.
            ceremony: read strictly; its authorities are not believed, those of the stored metadata count.
            changes: online documents that change with it, such as the roll-out.
            now_ms: Unix milliseconds.

        Raises:
            CeremonyStaleError: the configuration has changed since the file was made.
            SignatureError: a part is not signed by all who must.
            UnpublishableError, LooseningError, ReleaseVersionError, SignerMissingError: as ``publish``.
        """
        require_fresh(ceremony, {role: stored(current.metadata, role).version for role in ALL_ROLES})
        layout = layout_after(ceremony, layout_of(current.metadata))
        replaced = dict.fromkeys(path for path in current.targets if names.role_of_target(path) == names.POLICY)
        documents: Changes = {**(replaced if ceremony.part(names.POLICY) else {}), **ceremony.documents, **changes}
        following = self._following(current, documents, layout, now_ms)
        due = following.due | {part.role for part in ceremony.parts}
        parts = []
        for fresh in self._parts(replace(following, due=due), now_ms):
            taken = taken_over(fresh, ceremony.part(fresh.role))
            parts.append(taken if taken is fresh else self._signed(taken))
            if taken is not fresh:
                parts[-1].require_signed()
        return self._complete(following, parts, now_ms)

    def expiries(self, current: SignedSet) -> dict[str, int]:
        """Role name to the end of its validity, Unix milliseconds.

        Raises:
            RepositoryCorruptError: ``current`` cannot be read.
        """
        return {role: expires_ms(stored(current.metadata, role)) for role in ALL_ROLES}

    def here(self, role: RoleKeys) -> frozenset[str]:
        """Ids of the keys of a role that are here."""
        return frozenset(role.keys.keys() & self._signers.keys())

    def can_sign(self, role: RoleKeys) -> bool:
        """Enough keys of a role are here."""
        return len(self.here(role)) >= role.threshold

    @staticmethod
    def public_key(signer: Signer) -> bytes:
        """The 32 bytes of a signer's public key. Raises KeyAlgorithmError."""
        return _raw(signer)

    def _own_keys(self, role: str, threshold: int) -> RoleKeys:
        keys = {key_id: _raw(signer) for key_id, signer in self._by_role.get(role, {}).items()}
        if len(keys) < threshold:
            raise SignerMissingError(
                f"Role {role} needs {threshold} signers.", field=role, next_step="Give the missing keys."
            )
        return RoleKeys(threshold, keys)

    def _following(self, current: SignedSet, changes: Changes, layout: Layout, now_ms: int) -> _Next:
        """The next set, held against what may follow; due is what changes."""
        documents = merged(current.targets, changes)
        require_successor(current.targets, documents, self._org)
        paths = {*documents, *current.targets}
        changed = {names.role_of_target(path) for path in paths if current.targets.get(path) != documents.get(path)}
        old = layout_of(current.metadata)
        changed |= {role for role in names.DELEGATED_ROLES if layout[role] != old[role]}
        return _Next(current, layout, documents, frozenset(changed))

    def _aged(self, current: SignedSet, layout: Layout, now_ms: int) -> frozenset[str]:
        """Roles with keys here that have used up half of their validity; root is never signed again by itself."""
        expiries = self.expiries(current)
        return frozenset(
            role
            for role in ALL_ROLES
            if role not in {names.ROOT, names.TIMESTAMP}
            and expiries[role] - now_ms < VALIDITY_MS[role] // RENEW_SHARE
            and self.can_sign(layout[role])
        )

    def _parts(self, following: _Next, now_ms: int) -> list[Part]:
        """What is due below and with root, signed by the keys that are here."""
        payloads, layout, current = Payloads(self._org, now_ms), following.layout, following.current
        versions = {role: stored(current.metadata, role).version if current.metadata else 0 for role in ALL_ROLES}
        parts = []
        if names.ROOT in following.due:
            before = [layout_of(current.metadata)[names.ROOT]] if current.metadata else []
            signed = payloads.root(versions[names.ROOT] + 1, layout)
            parts.append(Part(names.ROOT, signed, (*before, layout[names.ROOT])))
        if names.TARGETS in following.due:
            signed = payloads.targets(versions[names.TARGETS] + following.step, layout)
            parts.append(Part(names.TARGETS, signed, (layout[names.TARGETS],)))
        for role in names.DELEGATED_ROLES:
            if role in following.due:
                signed = payloads.delegated(role, versions[role] + following.step, following.documents)
                parts.append(Part(role, signed, (layout[role],)))
        return [self._signed(part) for part in parts]

    def _complete(self, following: _Next, parts: Sequence[Part], now_ms: int, validity_ms: int = 0) -> SignedSet:
        """Put signed parts into the set, and sign snapshot and timestamp over them."""
        payloads, layout, metadata = Payloads(self._org, now_ms), following.layout, dict(following.current.metadata)
        old = {
            role: stored(metadata, role).version if following.current.metadata else 0
            for role in (names.SNAPSHOT, names.TIMESTAMP)
        }
        for part in parts:
            _require_own(part)
            name = names.root_file(part.version) if part.role == names.ROOT else names.metadata_file(part.role)
            metadata[name] = part.file()
        if parts or names.SNAPSHOT in following.due:
            snapshot = payloads.snapshot(old[names.SNAPSHOT] + following.step, metadata)
            metadata["snapshot.json"] = self._file(Part(names.SNAPSHOT, snapshot, (layout[names.SNAPSHOT],)))
        timestamp = payloads.timestamp(old[names.TIMESTAMP] + following.step, metadata, validity_ms)
        metadata["timestamp.json"] = self._file(Part(names.TIMESTAMP, timestamp, (layout[names.TIMESTAMP],)))
        return SignedSet(metadata=metadata, targets=dict(following.documents))

    def _ceremony(self, kind: str, following: _Next, now_ms: int) -> Ceremony:
        """What is due as a file that travels: root and targets, and the delegated roles whose keys are elsewhere."""
        parts = [
            part
            for part in self._parts(following, now_ms)
            if part.role in TOP_LEVEL or not self.can_sign(following.layout[part.role])
        ]
        roles, current = {part.role for part in parts}, following.current
        documents = {
            path: data
            for path, data in following.documents.items()
            if names.role_of_target(path) in roles or current.targets.get(path) != data
        }
        base = {path: data for path, data in current.targets.items() if names.role_of_target(path) == names.POLICY}
        compared = (newest_root(current.metadata), "targets.json", "policy.json")
        base |= {name: current.metadata[name] for name in compared}
        return Ceremony(self._org, kind, now_ms, tuple(parts), documents, base)

    def _file(self, part: Part) -> bytes:
        signed = self._signed(part)
        _require_own(signed)
        return signed.file()

    def _signed(self, part: Part) -> Part:
        """The part with the signatures of every key that is here and may sign it."""
        mine = [key_id for key_id in self._signers if part.may_sign(key_id)]
        ours = {key_id: self._signers[key_id].sign(part.payload) for key_id in mine}
        return replace(part, signatures={**part.signatures, **ours})


def _require_own(part: Part) -> None:
    """Hold what was signed here against who must sign, as an outpost would."""
    try:
        part.require_signed()
    except BadSignatureError:
        raise SignerMismatchError(
            f"A signer of {part.role} signs wrongly.", field=part.role, next_step="Check the key store."
        ) from None
    except SignatureError:
        raise SignerMissingError(
            f"Keys of role {part.role} are elsewhere: {part.missing} more must sign.",
            field=part.role,
            next_step="Let their holders sign: controlplane root propose, or controlplane release export.",
        ) from None


def _raw(signer: Signer) -> bytes:
    return require_signing_key(signer.public_key(), field="signer").public_bytes_raw()


def _key_id(signer: Signer) -> str:
    return tuf_key_id(_raw(signer))
