"""Every statement, or part of one, that cannot be the same on both engines."""

from controlplane.store.session import PerEngine

LIST_ORGS = PerEngine(
    sqlite="SELECT org, created_ms, ready FROM orgs ORDER BY created_ms, org",
    postgres="SELECT org, created_ms, ready FROM public.list_orgs() ORDER BY created_ms, org",
)
"""All orgs: on SQLite the registry's list; on PostgreSQL rows of which a session sees none or its own."""

SHARED_CLOCK = PerEngine(
    sqlite="SELECT $1",
    postgres="SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint + 0 * $1::bigint",
)
"""Unix milliseconds by the database's clock; a file has none, and whoever uses it has the clock of ``$1``."""

LISTED_2 = PerEngine(
    sqlite="(SELECT value FROM json_each($2))",
    postgres="(SELECT jsonb_array_elements_text($2::jsonb))",
)
"""The texts of the JSON list in ``$2``, as a set for IN."""
