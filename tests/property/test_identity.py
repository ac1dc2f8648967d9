"""Laws of an identity: whatever happens to an honest outpost, it is never locked; whatever a clone does, both are.

Histories are long and drawn from a seed, so that a failure names the one number that plays it again.
"""

from collections.abc import Callable
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.property.identity_world import Answer, Machine, Packet, Plane

HOUR_MS = 3_600_000
LONGEST_PAUSE_MS = 40 * HOUR_MS  # certificates live 24 h: some expire unused, and their requests are granted again
STEPS = 120


class History:
    """One outpost, its copies, and everything that is on its way."""

    def __init__(self, chance: Random) -> None:
        self.chance = chance
        self.plane = Plane()
        self.machines = [self.plane.first]
        self.packets: list[Packet] = []
        self.answers: list[Answer] = []

    def play(self, steps: int) -> None:
        names = list(HISTORY)
        weights = [weight for _, weight in HISTORY.values()]
        for name in self.chance.choices(names, weights, k=steps):
            HISTORY[name][0](self)

    def machine(self) -> Machine:
        return self.chance.choice(self.machines)

    def send(self, packet: Packet | None) -> None:
        if packet is not None:
            self.packets.append(packet)

    def ask(self) -> None:
        machine = self.machine()
        self.send(machine.ask(self.plane.nonce_for(machine)))

    def arrive(self) -> None:
        """Any packet arrives now; sometimes a copy of it stays on its way."""
        if self.packets:
            packet = self.packets.pop(self.chance.randrange(len(self.packets)))
            if self.chance.random() < 0.3:
                self.packets.append(packet)
            answer = self.plane.hear(packet)
            if answer is not None:
                self.answers.append(answer)

    def answer(self) -> None:
        if self.answers:
            answer = self.answers.pop(self.chance.randrange(len(self.answers)))
            answer.to.take(answer)

    def lose(self) -> None:
        """A packet or an answer is lost."""
        lost: list[Packet] | list[Answer] = self.chance.choice((self.packets, self.answers))
        if lost:
            lost.pop(self.chance.randrange(len(lost)))

    def pause(self) -> None:
        """Seconds, or hours."""
        self.plane.now_ms += self.chance.randrange(self.chance.choice((20_000, LONGEST_PAUSE_MS)))

    def fill_disk(self) -> None:
        disk = self.machine().disk
        disk.counter_is_full = not disk.counter_is_full

    def copy(self) -> None:
        self.machines.append(self.plane.copy_of(self.machine(), f"198.51.100.{len(self.machines)}"))


HISTORY: dict[str, tuple[Callable[[History], None], int]] = {
    # what happens, and how often beside the others
    "the process starts": (lambda world: world.machine().start(), 6),
    "the process dies": (lambda world: world.machine().crash(), 3),
    "the disk is full, or has room again": (History.fill_disk, 1),
    "a connection says hello": (lambda world: world.send(world.machine().hello()), 6),
    "a request for a certificate is stored": (lambda world: world.machine().prepare(), 4),
    "a certificate is asked for": (History.ask, 6),
    "something arrives": (History.arrive, 12),
    "an answer arrives": (History.answer, 6),
    "something is lost": (History.lose, 2),
    "time passes": (History.pause, 3),
}
SEEDS = st.integers(0, 2**32)


def history(seed: int) -> History:
    """A random history of an honest outpost."""
    world = History(Random(seed))
    world.play(STEPS)
    return world


@settings(max_examples=500, deadline=None)
@given(SEEDS)
def test_an_honest_outpost_is_never_locked(seed: int) -> None:
    world = history(seed)
    assert not world.plane.is_locked, world.plane.outpost.alert


@settings(max_examples=200, deadline=None)
@given(SEEDS)
def test_an_honest_outpost_is_never_stranded(seed: int) -> None:
    """After any history the outpost starts, renews and syncs: the rules leave no state that it cannot get out of."""
    world = history(seed)
    machine = world.plane.first
    start(machine)
    renew(world.plane, machine)
    refused = len(machine.refusals)
    say_hello(world.plane, machine)
    assert machine.refusals[refused:] == []
    assert world.plane.outpost.serial == machine.disk.serial


@settings(max_examples=500, deadline=None)
@given(SEEDS)
def test_a_clone_is_found_at_the_next_renewal_at_the_latest(seed: int) -> None:
    world = history(seed)
    world.copy()
    world.play(STEPS)
    machines = list(world.machines)
    world.chance.shuffle(machines)
    for machine in machines:  # whatever happened: both run, and both renew once
        start(machine)
    for machine in machines:
        renew(world.plane, machine)
        say_hello(world.plane, machine)
    for machine in machines:  # whose stream was ended comes back
        say_hello(world.plane, machine)
    assert world.plane.is_locked
    assert len(world.plane.outpost.alert_sources) == 2
    assert all(world.plane.outpost.alert_sources)


@settings(max_examples=200, deadline=None)
@given(SEEDS)
def test_a_clone_is_found_when_both_run_at_once(seed: int) -> None:
    """Without any renewal: each says hello, and the first says it again."""
    world = history(seed)
    original = world.machine()
    if not world.plane.is_alive(original.disk.serial):
        start(original)
        renew(world.plane, original)
    world.copy()
    if world.chance.random() < 0.5:
        original.crash()
    machines = list(world.machines)
    world.chance.shuffle(machines)
    for machine in machines:
        start(machine)
    for machine in (*machines, machines[0]):
        say_hello(world.plane, machine)
    assert world.plane.is_locked


def start(machine: Machine) -> None:
    machine.disk.counter_is_full = False
    machine.start()


def say_hello(plane: Plane, machine: Machine) -> None:
    packet = machine.hello()
    if packet is not None:
        plane.hear(packet)


def renew(plane: Plane, machine: Machine) -> None:
    plane.now_ms += 10_000
    machine.prepare()
    packet = machine.ask(plane.nonce_for(machine))
    assert packet is not None
    answer = plane.hear(packet)
    if answer is not None:
        machine.take(answer)
