"""What loosens: the enumerated list of what online keys may never do.

Theory. The keys of access, rollout, snapshot and timestamp lie at the control plane, those of vendor at the vendor.
Whoever steals them all can sign sets that follow every rule of TUF. So what such a set may say is bounded twice: within
itself by what the policy role signed (caps, releases, hashes), and against the set in force, from which it may take
nothing away that protects. Tightening needs one online signature, loosening the threshold of the policy role.

Each entry is one error class with its own code. The outpost asks before it installs, the control plane before it
signs, both with these functions.

LooseningError
├── within a set      loosening.caps_groups · caps_data_class · caps_channel · caps_models · caps_max_keys ·
│                     caps_key_life · caps_allowance · rollout_release · fallback · detectors
└── against the set   loosening.key_revived · key_vanished · key_secret · key_user · key_agent · key_groups ·
    in force          key_channel · key_data_class · key_models · key_life · outpost_entry · kill_entry · release_floor
"""

from collections.abc import Callable

from outpost.core.bundle import names
from outpost.core.bundle.access import ClientKey
from outpost.core.bundle.caps import CapsDocument, globs_within
from outpost.core.bundle.content import ReleaseContent, SetContent
from outpost.core.bundle.revocations import KINDS
from outpost.core.errors import BundleError

_BY_POLICY = "Only the policy role may allow this: let its keys sign, or leave it as it is."


class LooseningError(BundleError):
    """Online keys signed what only the policy role may."""

    code = "loosening"


class CapsGroupsError(LooseningError):
    """A key names a group that the caps do not have."""

    code = "loosening.caps_groups"


class CapsDataClassError(LooseningError):
    """A key has a data class that the caps do not have."""

    code = "loosening.caps_data_class"


class CapsChannelError(LooseningError):
    """A key has a channel that the caps do not have."""

    code = "loosening.caps_channel"


class CapsModelsError(LooseningError):
    """A key may ask for models beyond those of the caps."""

    code = "loosening.caps_models"


class CapsMaxKeysError(LooseningError):
    """There are more keys than the caps allow."""

    code = "loosening.caps_max_keys"


class CapsKeyLifeError(LooseningError):
    """A key lives longer than the caps allow."""

    code = "loosening.caps_key_life"


class CapsAllowanceError(LooseningError):
    """Each key may send more requests than the caps allow."""

    code = "loosening.caps_allowance"


class RolloutReleaseError(LooseningError):
    """The rollout role chose a release that the policy role did not sign."""

    code = "loosening.rollout_release"


class FallbackError(LooseningError):
    """The rollout role pairs a candidate with another release than the one to which it may fall back."""

    code = "loosening.fallback"


class DetectorsError(LooseningError):
    """The detectors are not those whose hash the policy role signed."""

    code = "loosening.detectors"


class KeyRevivedError(LooseningError):
    """A revoked key lives again."""

    code = "loosening.key_revived"


class KeyVanishedError(LooseningError):
    """A revoked key is gone: nothing would keep it from coming back as a new one."""

    code = "loosening.key_vanished"


class KeySecretError(LooseningError):
    """A key id stands for another secret, or a secret under another key id."""

    code = "loosening.key_secret"


class KeyUserError(LooseningError):
    """A key counts as another user."""

    code = "loosening.key_user"


class KeyAgentError(LooseningError):
    """A key counts as another agent."""

    code = "loosening.key_agent"


class KeyGroupsError(LooseningError):
    """A key has other groups: rules that held for it may hold no more."""

    code = "loosening.key_groups"


class KeyChannelError(LooseningError):
    """A key counts as another channel."""

    code = "loosening.key_channel"


class KeyDataClassError(LooseningError):
    """A key's traffic counts as another class of data."""

    code = "loosening.key_data_class"


class KeyModelsError(LooseningError):
    """A key may ask for more models than before."""

    code = "loosening.key_models"


class KeyLifeError(LooseningError):
    """A key is valid earlier or longer than before."""

    code = "loosening.key_life"


class OutpostEntryError(LooseningError):
    """An outpost that was revoked or locked is so no more, or less."""

    code = "loosening.outpost_entry"


class KillEntryError(LooseningError):
    """A provider or model that was switched off is on again under the same routes."""

    code = "loosening.kill_entry"


class ReleaseFloorError(LooseningError):
    """The release that counts as stable is older than one that ran as stable here."""

    code = "loosening.release_floor"


def require_rollout(content: SetContent) -> None:
    """Hold the roll-out's choice against what the policy role signed.

    Raises:
        RolloutReleaseError: a release that is not in the set.
        FallbackError: the candidate does not name the stable release as the one to fall back to.
    """
    where = names.ROLLOUT_PATH
    for version in content.rollout.named:
        if version not in content.releases:
            raise RolloutReleaseError(
                f"The roll-out names release {version}, which the policy role did not sign.",
                field=where,
                next_step="Publish the roll-out together with its releases.",
            )
    candidate = content.rollout.candidate
    if candidate is not None and content.releases[candidate].release.fallback != content.rollout.stable:
        raise FallbackError(
            f"Release {candidate} may not fall back to release {content.rollout.stable}.",
            field=f"{where}/candidate",
            next_step=_BY_POLICY,
        )


def require_within_caps(content: SetContent) -> None:
    """Hold the client keys against the caps of each release that may run.

    Raises:
        LooseningError: one of the ``loosening.caps_…`` leaves.
    """
    live = [key for key in content.access.keys if not key.revoked]
    for each in content.named:
        _require_totals(content, each, len(live))
        for key in live:
            _require_key(key, each.caps)


def _require_totals(content: SetContent, release: ReleaseContent, live: int) -> None:
    caps, allowance = release.caps, content.access.requests_per_minute
    if caps.max_keys is not None and live > caps.max_keys:
        raise CapsMaxKeysError(
            f"{live} keys live, where the caps allow {caps.max_keys}.", field=names.KEYS_PATH, next_step=_BY_POLICY
        )
    most = caps.max_requests_per_minute
    if most is not None and not 0 < allowance <= most:
        raise CapsAllowanceError(
            f"Each key may send {allowance or 'any number of'} requests a minute, where the caps allow {most}.",
            field=f"{names.KEYS_PATH}/requests_per_minute",
            next_step=_BY_POLICY,
        )


def _require_key(key: ClientKey, caps: CapsDocument) -> None:
    life = caps.max_key_life_seconds
    if caps.groups is not None and not set(key.groups) <= set(caps.groups):
        raise _of_key(CapsGroupsError, key.id, "names a group that the caps do not have")
    if caps.data_classes is not None and key.data_class not in caps.data_classes:
        raise _of_key(CapsDataClassError, key.id, "has a data class that the caps do not have")
    if caps.channels is not None and key.channel not in caps.channels:
        raise _of_key(CapsChannelError, key.id, "has a channel that the caps do not have")
    if caps.models is not None and not globs_within(key.models, caps.models):
        raise _of_key(CapsModelsError, key.id, "may ask for models that the caps do not have")
    if life is not None and key.expires - key.not_before > life:
        raise _of_key(CapsKeyLifeError, key.id, f"lives longer than {life} seconds")


def require_not_looser(active: SetContent, offered: SetContent) -> None:
    """Hold a set against the one in force: nothing that protects may be gone.

    Args:
        active: what is in force here.
        offered: what shall take its place.

    Raises:
        LooseningError: one of the leaves for keys, outposts or kill lists.
    """
    if offered.access is not active.access:
        _require_keys(active, offered)
    if offered.revocations is not active.revocations:
        _require_outposts(active, offered)
    _require_kills(active, offered)


_WIDENED: tuple[tuple[type[LooseningError], Callable[[ClientKey, ClientKey], bool], str], ...] = (
    (KeySecretError, lambda old, new: new.sha256 != old.sha256, "stands for another secret"),
    (KeyUserError, lambda old, new: new.user != old.user, "counts as another user"),
    (KeyAgentError, lambda old, new: new.agent != old.agent, "counts as another agent"),
    (KeyGroupsError, lambda old, new: set(new.groups) != set(old.groups), "has other groups"),
    (KeyChannelError, lambda old, new: new.channel != old.channel, "counts as another channel"),
    (KeyDataClassError, lambda old, new: new.data_class != old.data_class, "counts as another data class"),
    (KeyModelsError, lambda old, new: not globs_within(new.models, old.models), "may ask for more models"),
    (
        KeyLifeError,
        lambda old, new: new.expires > old.expires or new.not_before < old.not_before,
        "is valid earlier or longer",
    ),
)


def _require_keys(active: SetContent, offered: SetContent) -> None:
    by_id = {key.id: key for key in offered.access.keys}
    by_hash = {key.sha256: key for key in offered.access.keys}
    for old in active.access.keys:
        new, same = by_id.get(old.id), by_hash.get(old.sha256)
        if old.revoked:
            _require_still_revoked(old, new, same)
            continue
        if same is not None and same.id != old.id:
            raise _of_key(KeySecretError, old.id, "has a secret that stands under another id now")
        if new is not None and new != old and not new.revoked:
            for error, widened, words in _WIDENED:
                if widened(old, new):
                    raise _of_key(error, old.id, f"{words} than before")


def _require_still_revoked(old: ClientKey, new: ClientKey | None, same: ClientKey | None) -> None:
    if (new is not None and not new.revoked) or (same is not None and not same.revoked):
        raise _of_key(KeyRevivedError, old.id, "was revoked and lives again")
    if same is None:
        raise _of_key(KeyVanishedError, old.id, "was revoked and is gone")


def _require_outposts(active: SetContent, offered: SetContent) -> None:
    now = {each.id: each for each in offered.revocations.outposts}
    for old in active.revocations.outposts:
        new = now.get(old.id)
        weaker = new is None or KINDS.index(new.kind) < KINDS.index(old.kind)
        if weaker or (new is not None and new.join_sequence < old.join_sequence):
            raise OutpostEntryError(
                f"Outpost {old.id} was {old.kind} up to join sequence {old.join_sequence}, and that is taken back.",
                field=f"{names.REVOCATIONS_PATH}/{old.id}",
                next_step="Enroll the outpost again: its new identity has a higher join sequence.",
            )


def _require_kills(active: SetContent, offered: SetContent) -> None:
    still = {each.routes_sha256 for each in offered.releases.values()}
    for routes in still & set(active.kill.lists):
        old, new = active.kill.under(routes), offered.kill.under(routes)
        gone = [*sorted(set(old.providers) - set(new.providers)), *sorted(set(old.models) - set(new.models))]
        if gone:
            raise KillEntryError(
                f"{gone[0]} was switched off and is on again under the same routes.",
                field=names.KILL_PATH,
                next_step="Publish routes that confirm it: that needs the policy role.",
            )


def require_floor(content: SetContent, floor: int) -> None:
    """Hold the stable release against the highest that ran as stable here.

    Args:
        content: what is offered.
        floor: of the high water.

    Raises:
        ReleaseFloorError: older.
    """
    if content.rollout.stable < floor:
        raise ReleaseFloorError(
            f"Release {content.rollout.stable} counts as stable, but release {floor} ran as stable before.",
            field=f"{names.ROLLOUT_PATH}/stable",
            next_step="To go back, publish the old content under a new, higher version.",
        )


def _of_key(error: type[LooseningError], key_id: str, words: str) -> LooseningError:
    return error(f"Key {key_id} {words}.", field=f"{names.KEYS_PATH}/{key_id}", next_step=_BY_POLICY)
