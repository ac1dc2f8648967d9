"""The outpost itself, in one process (`--workers 0`), with less patience: what takes a minute there takes a second.

python -m tests.fakes.impatient run --workers 0 ...
"""

from aiohttp.web_protocol import RequestHandler

from outpost.__main__ import main
from outpost.gateway import bodies, server

PATIENCE_SECONDS = 1.0

if __name__ == "__main__":
    server.KEEPALIVE_SECONDS = PATIENCE_SECONDS  # for a head
    bodies.read_body.__defaults__ = (PATIENCE_SECONDS,)  # for a body
    defaults = RequestHandler.__init__.__kwdefaults__
    assert defaults is not None
    defaults["lingering_time"] = PATIENCE_SECONDS  # for the rest of a body behind an early answer
    main()
