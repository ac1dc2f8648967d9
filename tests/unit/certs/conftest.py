import pytest

from certs.shell.dev import Hierarchy, create_hierarchy
from tests.unit.certs.forge import NOW, OTHER_DOMAIN


@pytest.fixture(scope="session")
def hierarchy() -> Hierarchy:
    return create_hierarchy(NOW)


@pytest.fixture(scope="session")
def stranger() -> Hierarchy:
    """Another control plane with the same trust domain: same names, other keys."""
    return create_hierarchy(NOW)


@pytest.fixture(scope="session")
def elsewhere() -> Hierarchy:
    return create_hierarchy(NOW, OTHER_DOMAIN)
