"""What a serving process takes of the system."""

import subprocess
import sys

PROGRAM = """
import resource
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
from controlplane.bootstrap.serving import allow_open_files
allow_open_files()
assert resource.getrlimit(resource.RLIMIT_NOFILE) == (hard, hard)
"""


def test_a_fleet_may_have_as_many_connections_as_the_system_allows() -> None:
    subprocess.run([sys.executable, "-c", PROGRAM], check=True, timeout=60)
