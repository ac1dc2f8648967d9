"""Random bits of everything that carries configuration, flipped one at a time: nothing else may come into force.

    make bench-tamper           # 10,000 flips; QUICK=1 for 500, SEED=1 to repeat them

Each altered file goes to its real receiver: verification, cold start, the reader of the wire, the control plane that
takes a ceremony back. It must be refused with a typed error, or be without effect: exactly the honest result. Prints
a table and, as its last line, one JSON object.
"""

import json
import logging
import os
import random
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from google.protobuf.message import DecodeError

from bench.surfaces import Surface, surfaces
from controlplane.domain.errors import ControlPlaneError
from outpost.core.errors import OutpostError

FLIPS = 10_000
QUICK_FLIPS = 500


@dataclass
class Tally:
    """What became of the flips of one surface."""

    refused: Counter[str] = field(default_factory=Counter)
    without_effect: int = 0
    accepted: list[str] = field(default_factory=list)
    crashed: list[str] = field(default_factory=list)

    @property
    def flips(self) -> int:
        """All of them."""
        return self.refused.total() + self.without_effect + len(self.accepted) + len(self.crashed)


def flipped(data: bytes, bit: int) -> bytes:
    """One bit other."""
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def campaign(every: Sequence[Surface], flips: int, seed: int) -> dict[str, Tally]:
    """Flip bits of all surfaces, each after its share; the same seed flips the same bits of equal files."""
    chance, total = random.Random(seed), sum(surface.share for surface in every)
    return {each.name: flip(each, max(1, flips * each.share // total), chance) for each in every}


def flip(surface: Surface, count: int, chance: random.Random) -> Tally:
    """Flip bits of one surface: first a file is drawn, so that small ones get their share, then a bit of it."""
    tally = Tally()
    honest = {name: surface.receive(name, data) for name, data in surface.files.items()}
    for _ in range(count):
        name = chance.choice(sorted(surface.files))
        bit = chance.randrange(8 * len(surface.files[name]))
        where = f"{name}, bit {bit}"
        try:
            found = surface.receive(name, flipped(surface.files[name], bit))
        except (OutpostError, ControlPlaneError) as error:
            tally.refused[getattr(error, "told", error.code)] += 1
        except DecodeError:
            tally.refused["no message"] += 1
        except Exception as error:  # anything that is not a refusal is a finding, whatever it is
            tally.crashed.append(f"{where}: {error!r}")
        else:
            if found == honest[name]:
                tally.without_effect += 1
            else:
                tally.accepted.append(where)
    return tally


def main() -> int:
    flips = QUICK_FLIPS if os.environ.get("QUICK") else FLIPS
    seed = int(os.environ.get("SEED", random.randrange(10**6)))
    logging.disable(logging.CRITICAL)  # thousands of refusals
    with tempfile.TemporaryDirectory(prefix="outpost-tamper-") as folder:
        found = campaign(surfaces(Path(folder)), flips, seed)
    print(f"seed {seed}")
    print(f"{'what is altered':<28}{'flips':>7}{'refused':>9}{'no effect':>11}{'accepted':>10}{'crashed':>9}  codes")
    for name, tally in found.items():
        counts = f"{tally.flips:>7}{tally.refused.total():>9}{tally.without_effect:>11}"
        bad = f"{len(tally.accepted):>10}{len(tally.crashed):>9}"
        print(f"{name:<28}{counts}{bad}  {len(tally.refused)}")
        for what in [*tally.accepted, *tally.crashed]:
            print(f"    {what}")
    line = {
        "flips": sum(tally.flips for tally in found.values()),
        "refused": sum(tally.refused.total() for tally in found.values()),
        "no_effect": sum(tally.without_effect for tally in found.values()),
        "accepted": sum(len(tally.accepted) for tally in found.values()),
        "crashed": sum(len(tally.crashed) for tally in found.values()),
        "codes": len(set().union(*(tally.refused for tally in found.values()))),
        "seed": seed,
    }
    print(json.dumps(line))
    return 0 if not line["accepted"] and not line["crashed"] else 1


if __name__ == "__main__":
    sys.exit(main())
