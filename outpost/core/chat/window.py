"""Hold back a streamed text until every part of it has been judged.

A channel is one string that a provider sends in pieces (the content of a choice, the arguments of a tool call). Per
channel one window: pieces go in, text comes out as early as it is safe, never earlier.

Theory. The inspector says for each piece how far the text is *settled*: no text that may still come can make a finding
that begins before that place or reaches over it. Settled text is judged finding by finding, in order of place, each
once; so neither what comes out nor where it stops depends on how the provider cut the text. Only *when* it comes out
does.

Law: for every text and every way of cutting it, the outputs of all calls, joined, equal the output of one call with the
whole text, and a stop is at the same character.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, Protocol, TypeVar


class Verdict(StrEnum):
    """What happens to a finding in an answer."""

    RELEASE = "release"
    REDACT = "redact"
    STOP = "stop"


class Spanned(Protocol):
    """A finding, as far as a window looks at it. Offsets are characters of the channel's text."""

    @property
    def entity_type(self) -> str: ...  # noqa: D102 -- see the class

    @property
    def start(self) -> int: ...  # noqa: D102

    @property
    def end(self) -> int: ...  # noqa: D102


F = TypeVar("F", bound=Spanned)


@dataclass(frozen=True, slots=True)
class Settled(Generic[F]):
    """How far the inspector is.

    Attributes:
        findings: newly settled, by place, not overlapping.
        upto: characters of the channel that are settled; never less than before.
    """

    findings: tuple[F, ...]
    upto: int


class Inspector(Protocol[F]):
    """Finds in a text that arrives in pieces."""

    def feed(self, delta: str) -> Settled[F]:
        """Read one more piece."""
        ...

    def finish(self) -> Settled[F]:
        """Settle the rest: nothing more will come."""
        ...


class Restorer(Protocol):
    """Puts originals back into text that has been inspected."""

    def feed(self, text: str) -> str:
        """Restore one more piece; may keep back its end."""
        ...

    def skip(self, token: str) -> str:
        """Pass a token of our own, which is never restored; returns what was kept back, and the token."""
        ...

    def finish(self) -> str:
        """Return what was kept back."""
        ...


@dataclass(frozen=True, slots=True)
class Released(Generic[F]):
    """What a call lets out.

    Attributes:
        text: may be sent to the client now.
        judged: findings that became settled, each with its verdict.
        stopped: the finding at which the channel ended; nothing follows, whatever is fed.
    """

    text: str
    judged: tuple[tuple[F, Verdict], ...] = ()
    stopped: F | None = None


class ChannelWindow(Generic[F]):
    """The window of one channel. Pure; not thread-safe."""

    def __init__(
        self, inspector: Inspector[F], judge: Callable[[F], Verdict], restorer: Restorer | None = None
    ) -> None:
        """Open a window.

        Args:
            inspector: a fresh one, for this channel alone.
            judge: called once per finding, by place.
            restorer: a fresh one, or None where nothing was replaced in the prompt.
        """
        self._inspector = inspector
        self._judge = judge
        self._restorer = restorer
        self._pending = ""
        self._at = 0  # characters of the channel that have left ``_pending``
        self._stopped: F | None = None

    @property
    def pending_chars(self) -> int:
        """Characters that are held back now."""
        return len(self._pending)

    def feed(self, delta: str) -> Released[F]:
        """Take one more piece of the channel (untrusted text).

        Returns:
            What may be sent now; empty text while a candidate is open, and after a stop.
        """
        if self._stopped is not None:
            return Released("", (), self._stopped)
        self._pending += delta
        return self._release(self._inspector.feed(delta), final=False)

    def finish(self) -> Released[F]:
        """End the channel: judge and let out the rest."""
        if self._stopped is not None:
            return Released("", (), self._stopped)
        return self._release(self._inspector.finish(), final=True)

    def _release(self, settled: Settled[F], *, final: bool) -> Released[F]:
        out: list[str] = []
        judged: list[tuple[F, Verdict]] = []
        for finding in settled.findings:
            verdict = self._judge(finding)
            judged.append((finding, verdict))
            if verdict is Verdict.RELEASE:
                continue
            out.append(self._restore(self._take(finding.start)))
            if verdict is Verdict.STOP:
                self._stopped = finding
                self._pending = ""
                out.append(self._flush())
                return Released("".join(out), tuple(judged), finding)
            self._take(finding.end)
            out.append(self._pass(f"[REDACTED_{finding.entity_type.upper()}]"))
        out.append(self._restore(self._take(settled.upto)))
        if final:
            out.append(self._flush())
        return Released("".join(out), tuple(judged))

    def _take(self, upto: int) -> str:
        """Remove and return the held text before the character ``upto`` of the channel."""
        count = max(upto - self._at, 0)
        taken, self._pending = self._pending[:count], self._pending[count:]
        self._at += len(taken)
        return taken

    def _restore(self, text: str) -> str:
        return text if self._restorer is None or not text else self._restorer.feed(text)

    def _pass(self, token: str) -> str:
        return token if self._restorer is None else self._restorer.skip(token)

    def _flush(self) -> str:
        return "" if self._restorer is None else self._restorer.finish()
