"""What the sync service works with, in one place."""

from collections.abc import Callable
from dataclasses import dataclass

from controlplane.domain.throttle import Admission
from controlplane.ports.world import Chance, Clock
from controlplane.rpc.callers import Callers
from controlplane.rpc.returning import Returning
from controlplane.services.adoption import Adoption
from controlplane.services.clones import Clones
from controlplane.services.delivery import DeliveryDesk
from controlplane.services.identity import Gatekeeper
from controlplane.services.locks import Locks
from controlplane.services.presence import Presence
from controlplane.services.renew import Renewal
from controlplane.services.trust import Trust
from controlplane.services.views import Views


@dataclass(frozen=True, slots=True)
class SyncDesk:
    """What the service works with."""

    gatekeeper: Gatekeeper
    admission: Admission
    views: Views
    delivery: DeliveryDesk
    renewal: Renewal
    presence: Presence
    clock: Clock
    chance: Chance
    callers: Callers
    clones: Clones
    locks: Locks
    trust: Callable[[], Trust]
    returning: Returning
    adoption: Adoption
