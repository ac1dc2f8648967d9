"""What Alembic wants of a revision's module, made from the step that the module holds as data."""

from collections.abc import Callable, Sequence

from controlplane.store.migrations.step import Step

Functions = tuple[str, str | None, Callable[[], None], Callable[[], None]]


def functions_of(step: Step) -> Functions:
    """``revision``, ``down_revision``, ``upgrade`` and ``downgrade`` of a step."""

    def upgrade() -> None:
        _run(step.postgres_up())

    def downgrade() -> None:
        _run(step.postgres_down())

    return step.revision, before(step.revision), upgrade, downgrade


def before(revision: str) -> str | None:
    """The revision that a step builds on, None for the first: they are numbered without a gap."""
    return f"{int(revision) - 1:04d}" if int(revision) > 1 else None


def _run(statements: Sequence[str]) -> None:
    """Run statements as they are: no parameter marks are looked for in them."""
    from alembic import op

    connection = op.get_bind()
    for statement in statements:
        connection.exec_driver_sql(statement)
