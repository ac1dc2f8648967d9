"""Who may do what: one static table of roles and verbs, and the rules of granting.

A verb is what an operation does; every operation has exactly one. The table is total: a verb without a row, or a role
that stands in none, fails the tests. Nothing else decides what a role may.

Rules beside the table:

- nobody grants, manages or resets a role that has a verb which his own has not;
- the last owner of an org can be neither disabled nor given another role;
- in an org with the two-person rule, what ``TWO_PERSONS`` names is done by two: whatever loosens, whatever could make
  one person look like two, and what stops a whole fleet. Giving somebody a role that decides on approvals hands out a
  sign-in code with which the giver could approve his own acts; so that takes two as well, as soon as there is another
  who could be the second. Ending, resetting or demoting one who decides always takes two: else one person could first
  remove everybody who might be asked.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from controlplane.domain.errors import ConflictError, RefusedError
from controlplane.domain.orgs import OPERATOR


class UnauthenticatedError(RefusedError):
    """No token, or one that is not valid now: one answer for every cause."""

    code = "access.unauthenticated"


class SignInError(UnauthenticatedError):
    """A sign-in that failed: one answer for an unknown user, a wrong password, a wrong code and a disabled user."""

    code = "access.sign_in"


class RoleForbidsError(RefusedError):
    """The caller's role does not have the verb."""

    code = "access.role"


class ScopeForbidsError(RefusedError):
    """The role has the verb, but the token was asked for without it."""

    code = "access.scope"


class GrantForbiddenError(RefusedError):
    """Somebody would give, manage or take a role that can do more than his own."""

    code = "access.grant"


class LastOwnerError(ConflictError):
    """The org would be left without an owner."""

    code = "user.last_owner"


class Role(StrEnum):
    """Roles of persons and machine clients."""

    OWNER = "owner"
    SECURITY_ADMIN = "security_admin"
    AUDITOR = "auditor"
    OPERATOR = "operator"
    READ_ONLY = "read_only"


class Verb(StrEnum):
    """What operations do."""

    STATUS_READ = "status.read"
    OWN_ACCOUNT = "account.own"
    ORGS_READ = "orgs.read"
    ORGS_CREATE = "orgs.create"
    ORGS_LIMIT = "orgs.limit"
    ORGS_RULE = "orgs.rule"
    ORGS_LOOSEN = "orgs.loosen"
    OUTPOSTS_READ = "outposts.read"
    OUTPOSTS_REGISTER = "outposts.register"
    OUTPOSTS_REVOKE = "outposts.revoke"
    OUTPOSTS_LOCK = "outposts.lock"
    OUTPOSTS_LOCK_ALL = "outposts.lock_all"
    POLICY_READ = "policy.read"
    POLICY_LINT = "policy.lint"
    POLICY_PUBLISH = "policy.publish"
    RELEASES_DRAFT = "releases.draft"
    RELEASES_SIMULATE = "releases.simulate"
    RELEASES_HALT = "releases.halt"
    RELEASES_RULE = "releases.rule"
    ROUTES_READ = "routes.read"
    ROUTES_PUBLISH = "routes.publish"
    ROUTES_KILL = "routes.kill"
    ROOTS_READ = "roots.read"
    ROOTS_MANAGE = "roots.manage"
    ROOTS_APPLY = "roots.apply"
    KEYS_READ = "keys.read"
    KEYS_CREATE = "keys.create"
    KEYS_REVOKE = "keys.revoke"
    AUDIT_VERIFY = "audit.verify"
    ACTS_READ = "acts.read"
    ACTS_EXPORT = "acts.export"
    USERS_READ = "users.read"
    USERS_MANAGE = "users.manage"
    USERS_GRANT_OWNER = "users.grant_owner"
    USERS_GRANT_DECIDER = "users.grant_decider"
    USERS_END_DECIDER = "users.end_decider"
    CLIENTS_READ = "clients.read"
    CLIENTS_MANAGE = "clients.manage"
    APPROVALS_READ = "approvals.read"
    APPROVALS_DECIDE = "approvals.decide"
    TOKENS_ROTATE = "tokens.rotate"
    CAS_READ = "cas.read"
    CAS_MANAGE = "cas.manage"
    CAS_LISTS = "cas.lists"
    INGRESSES_READ = "ingresses.read"
    INGRESSES_MANAGE = "ingresses.manage"


_OWNER, _SECURITY, _AUDITOR, _OPERATOR, _READER = Role
_EVERYONE = frozenset(Role)
_TRUSTED = frozenset({_OWNER, _SECURITY})
_RUNNING = frozenset({_OWNER, _SECURITY, _OPERATOR})
_LOOKING = frozenset({_OWNER, _SECURITY, _AUDITOR})

TABLE: Final[Mapping[Verb, frozenset[Role]]] = {
    Verb.STATUS_READ: _EVERYONE,
    Verb.OWN_ACCOUNT: _EVERYONE,
    Verb.ORGS_READ: _EVERYONE,
    Verb.ORGS_CREATE: frozenset({_OWNER, _OPERATOR}),
    Verb.ORGS_LIMIT: frozenset({_OWNER, _OPERATOR}),
    Verb.ORGS_RULE: frozenset({_OWNER}),
    Verb.ORGS_LOOSEN: frozenset({_OWNER}),
    Verb.OUTPOSTS_READ: _EVERYONE,
    Verb.OUTPOSTS_REGISTER: _RUNNING,
    Verb.OUTPOSTS_REVOKE: _RUNNING,
    Verb.OUTPOSTS_LOCK: _RUNNING,
    Verb.OUTPOSTS_LOCK_ALL: _TRUSTED,
    Verb.POLICY_READ: _EVERYONE,
    Verb.POLICY_LINT: _EVERYONE,
    Verb.POLICY_PUBLISH: _TRUSTED,
    Verb.RELEASES_DRAFT: _RUNNING,
    Verb.RELEASES_SIMULATE: frozenset({_OWNER, _SECURITY, _AUDITOR, _OPERATOR}),
    Verb.RELEASES_HALT: _RUNNING,
    Verb.RELEASES_RULE: _TRUSTED,
    Verb.ROUTES_READ: _EVERYONE,
    Verb.ROUTES_PUBLISH: _TRUSTED,
    Verb.ROUTES_KILL: _RUNNING,
    Verb.ROOTS_READ: _EVERYONE,
    Verb.ROOTS_MANAGE: _TRUSTED,
    Verb.ROOTS_APPLY: _TRUSTED,
    Verb.KEYS_READ: _EVERYONE,
    Verb.KEYS_CREATE: _RUNNING,
    Verb.KEYS_REVOKE: _RUNNING,
    Verb.AUDIT_VERIFY: _LOOKING,
    Verb.ACTS_READ: _LOOKING,
    Verb.ACTS_EXPORT: _LOOKING,
    Verb.USERS_READ: _LOOKING,
    Verb.USERS_MANAGE: _TRUSTED,
    Verb.USERS_GRANT_OWNER: frozenset({_OWNER}),
    Verb.USERS_GRANT_DECIDER: _TRUSTED,
    Verb.USERS_END_DECIDER: _TRUSTED,
    Verb.CLIENTS_READ: _LOOKING,
    Verb.CLIENTS_MANAGE: _TRUSTED,
    Verb.APPROVALS_READ: frozenset({_OWNER, _SECURITY, _AUDITOR, _OPERATOR}),
    Verb.APPROVALS_DECIDE: _TRUSTED,
    Verb.TOKENS_ROTATE: _TRUSTED,
    Verb.CAS_READ: _EVERYONE,
    Verb.CAS_MANAGE: _TRUSTED,
    Verb.CAS_LISTS: _RUNNING,
    Verb.INGRESSES_READ: _EVERYONE,
    Verb.INGRESSES_MANAGE: _TRUSTED,
}
"""Role × verb. Adding an operation of a new kind adds one verb and one row."""

TWO_PERSONS: Final = frozenset(
    {
        Verb.POLICY_PUBLISH,
        Verb.ROUTES_PUBLISH,
        Verb.RELEASES_RULE,
        Verb.ROOTS_APPLY,
        Verb.ORGS_LOOSEN,
        Verb.OUTPOSTS_LOCK_ALL,
        Verb.USERS_GRANT_OWNER,
        Verb.USERS_GRANT_DECIDER,
        Verb.USERS_END_DECIDER,
    }
)
"""What takes an author and another person's approval in an org with the two-person rule."""

IF_THERE_IS_ANOTHER: Final = frozenset({Verb.USERS_GRANT_DECIDER})
"""Of those, what one person does alone while nobody else of the org could approve it: how an org gets its second."""

FILES_ALONE: Final = frozenset({Verb.USERS_GRANT_OWNER, Verb.USERS_END_DECIDER})
"""Of those, what whoever has the files does alone while nobody else could approve it: how an org without owners gets
its first, and how the only one who decides gets a new sign-in code."""

OPERATOR_VERBS: Final = frozenset(
    {
        Verb.ORGS_CREATE,
        Verb.ORGS_LIMIT,
        Verb.TOKENS_ROTATE,
        Verb.CAS_READ,
        Verb.CAS_MANAGE,
        Verb.CAS_LISTS,
        Verb.INGRESSES_READ,
        Verb.INGRESSES_MANAGE,
    }
)
"""Verbs that mean something in the operator's own space only; in a customer's org nobody has them."""


class PrincipalKind(StrEnum):
    """What a caller is."""

    PERSON = "person"
    CLIENT = "client"
    LOCAL = "local"


@dataclass(frozen=True, slots=True)
class Principal:
    """An authenticated caller.

    Attributes:
        kind: a person, a machine client, or whoever has the state directory on this machine.
        id: ``user-…``, ``client-…`` or ``local/<os user>``; what author and approver are compared by.
        name: for people.
        org: whose he is; the operator's own are of OPERATOR. Empty for a local one, who is of every org: who has
            the files can do anything, and it is on record.
        role: as stored now.
        scopes: the part of the role that a token was asked for; None is all of it.
        behind: ids of those who were shown a secret of a machine client, or a sign-in code of a person: what it asks
            for, they may not approve, and the other way round.
    """

    kind: PrincipalKind
    id: str
    name: str
    org: str
    role: Role
    scopes: frozenset[Verb] | None = None
    behind: tuple[str, ...] = ()

    def belongs_to(self, org: str) -> bool:
        """Whether an org's path is his."""
        return self.kind is PrincipalKind.LOCAL or self.org == org


def verbs_of(role: Role, org: str) -> frozenset[Verb]:
    """What a role may do in an org."""
    barred = frozenset() if org == OPERATOR else OPERATOR_VERBS
    return frozenset(verb for verb, roles in TABLE.items() if role in roles) - barred


def authorise(principal: Principal, verb: Verb) -> None:
    """Judge whether a caller may do something.

    Args:
        principal: authenticated, and of the org that the act is for.
        verb: of the operation.

    Raises:
        RoleForbidsError: his role does not have the verb.
        ScopeForbidsError: his token was asked for without it.
    """
    if principal.role not in TABLE[verb]:
        roles = ", ".join(role.value for role in Role if role in TABLE[verb])
        raise RoleForbidsError(
            f"the role {principal.role.value} does not have the verb {verb.value}",
            field="role",
            next_step=f"ask somebody with one of these roles: {roles}",
        )
    if principal.scopes is not None and verb not in principal.scopes:
        raise ScopeForbidsError(
            f"this token was asked for without the scope {verb.value}",
            field="scope",
            next_step="ask for a token with that scope, or without any: then it has those of its role",
        )


def decides(role: Role) -> bool:
    """Whether a role may approve what another asked for."""
    return role in TABLE[Verb.APPROVALS_DECIDE]


def granting_verb(role: Role) -> Verb:
    """The verb that giving a role takes."""
    if role is Role.OWNER:
        return Verb.USERS_GRANT_OWNER
    return Verb.USERS_GRANT_DECIDER if decides(role) else Verb.USERS_MANAGE


def needs_two_persons(verb: Verb, others: int, kind: PrincipalKind) -> bool:
    """Whether an act takes two in an org with the two-person rule.

    Args:
        verb: of the act.
        others: persons of the org who could approve it: neither its author nor the user that it is about.
        kind: what its author is.
    """
    alone = IF_THERE_IS_ANOTHER | FILES_ALONE if kind is PrincipalKind.LOCAL else IF_THERE_IS_ANOTHER
    return verb in TWO_PERSONS and (others > 0 or verb not in alone)


def may_manage(actor: Role, other: Role, org: str) -> None:
    """Judge whether one role may give, reset, disable or change another.

    Raises:
        GrantForbiddenError: the other can do something that the actor cannot.
    """
    beyond = verbs_of(other, org) - verbs_of(actor, org)
    if beyond:
        raise GrantForbiddenError(
            f"the role {other.value} can do what {actor.value} cannot ({min(beyond).value})",
            field="role",
            next_step="ask an owner",
        )


def require_owner_left(owners: Iterable[str], leaving: str) -> None:
    """Refuse the loss of an org's last owner.

    Args:
        owners: ids of all owners who count.
        leaving: the user who is to be disabled or given another role.

    Raises:
        LastOwnerError: nobody else is an owner.
    """
    if set(owners) == {leaving}:
        raise LastOwnerError(
            "this is the last owner of the org, and an org without one cannot be administered",
            field="user",
            next_step="make another owner first: controlplane user create NAME --org ORG --role owner",
        )
