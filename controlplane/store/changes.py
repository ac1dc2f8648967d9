"""The counter that tells running servers, in whatever process, that outposts or releases changed."""

from controlplane.store.engine import Session

COUNT = "SELECT count FROM changes"


async def bump(session: Session) -> None:
    """Count one change, within the transaction that makes it."""
    await session.execute("UPDATE changes SET count = count + 1")
