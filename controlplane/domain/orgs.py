"""Orgs: the unit of isolation. Everything is keyed by org, from the first line."""

import re
from dataclasses import dataclass

from controlplane.domain.errors import ConflictError, InputError, NotFoundError

# docs/design.md 1; it becomes a file name and a part of SPIFFE IDs
ORG_ID = re.compile(r"[a-z][a-z0-9-]{1,30}")
OPERATOR = "operator"  # the operator's own users and acts live in a space of this name; no customer may have it


class OrgNameError(InputError):
    """An org id that is not one."""

    code = "org.name"


class OrgReservedError(OrgNameError):
    """An org id that the control plane keeps for itself."""

    code = "org.reserved"


class OrgUnknownError(NotFoundError):
    """No such org here."""

    code = "org.unknown"


class OrgExistsError(ConflictError):
    """The org was created before."""

    code = "org.exists"


@dataclass(frozen=True, slots=True)
class Org:
    """A customer.

    Attributes:
        id: ``[a-z][a-z0-9-]{1,30}``.
        created_ms: Unix milliseconds.
        ready: its signed configuration exists; false only while ``org create`` runs or after it was cut off.
    """

    id: str
    created_ms: int
    ready: bool


def checked_id(text: str) -> str:
    """An org id, or a refusal.

    Raises:
        OrgNameError: anything but ``[a-z][a-z0-9-]{1,30}``.
    """
    if ORG_ID.fullmatch(text) is None:
        raise OrgNameError(
            "an org id is 2 to 31 characters: a lower-case letter, then lower-case letters, digits or hyphens",
            field="org",
            next_step="choose an id such as 'acme' and run the command again",
        )
    return text


def checked_customer_id(text: str) -> str:
    """The id of an org that a customer may have.

    Raises:
        OrgNameError: it is no org id.
        OrgReservedError: it is the operator's own.
    """
    if checked_id(text) == OPERATOR:
        raise OrgReservedError(
            f"the org id {OPERATOR} is kept for the operator's own users and acts",
            field="org",
            next_step="choose another id",
        )
    return text


def unknown_org() -> OrgUnknownError:
    """The answer to an id that no org here has."""
    return OrgUnknownError(
        "this control plane has no such org", field="org", next_step="create it: controlplane org create ORG"
    )
