"""Plans: releases on their way from a draft to every outpost, what became of them, and the org's terms for it."""

from controlplane.store.migrations.alembic_step import functions_of
from controlplane.store.migrations.step import Change, Step, Table

PLANS = Table(
    "plans",
    """
    org TEXT NOT NULL,
    number BIGINT NOT NULL,
    kind TEXT NOT NULL,
    title TEXT NOT NULL,
    author_id TEXT NOT NULL,
    author_name TEXT NOT NULL,
    created_ms BIGINT NOT NULL,
    digest TEXT NOT NULL,
    terms TEXT NOT NULL,
    state TEXT NOT NULL,
    at_once BIGINT NOT NULL,
    approver_id TEXT NOT NULL,
    approver_name TEXT NOT NULL,
    draft BYTEA NOT NULL,
    ceremony BYTEA NOT NULL,
    release BIGINT NOT NULL,
    fallback BIGINT NOT NULL,
    stage BIGINT NOT NULL,
    first_set BIGINT NOT NULL,
    stage_set BIGINT NOT NULL,
    began_ms BIGINT NOT NULL,
    settled_ms BIGINT NOT NULL,
    ended_ms BIGINT NOT NULL,
    code TEXT NOT NULL,
    reason TEXT NOT NULL,
    culprit TEXT NOT NULL,
    shadow TEXT NOT NULL,
    PRIMARY KEY (org, number)
    """,
    large=True,
)

PLAN_MOVES = Table(
    "plan_moves",
    """
    org TEXT NOT NULL,
    plan BIGINT NOT NULL,
    number BIGINT NOT NULL,
    at_ms BIGINT NOT NULL,
    state TEXT NOT NULL,
    stage BIGINT NOT NULL,
    code TEXT NOT NULL,
    reason TEXT NOT NULL,
    by_name TEXT NOT NULL,
    PRIMARY KEY (org, plan, number)
    """,
    append_only=True,
)

ROLLOUT_TERMS = Table("rollout_terms", "org TEXT NOT NULL PRIMARY KEY, terms TEXT NOT NULL")

STEP = Step(
    revision="0006",
    title="plans of releases",
    org=(
        PLANS,
        Change("CREATE INDEX plans_state ON plans (org, state)", "DROP INDEX plans_state"),
        PLAN_MOVES,
        ROLLOUT_TERMS,
        Change("CREATE INDEX release_files_name ON release_files (org, name, number)", "DROP INDEX release_files_name"),
    ),
)
revision, down_revision, upgrade, downgrade = functions_of(STEP)
