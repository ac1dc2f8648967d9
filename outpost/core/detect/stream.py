"""Find in a text that arrives in pieces, with the very same result as in the whole text.

Rules. A start position is judged once, as soon as no rule can still grow from it: the text from there to the end of
what has arrived is no prefix of any match (``pattern.open_candidate``). Its matches then depend only on text that has
arrived. Matches that overlap are one finding; it is settled when no open position lies before its end.

Bounds. A position stays open for at most the width of the widest rule, and a finding for at most
``merge.MAX_STRETCH_CHARS``: that, and not the length of the answer, bounds the memory. When much is held, the text is
looked at again only after it grew by an eighth: linear in total, later by an eighth at most.
"""

from dataclasses import replace

from outpost.core.chat.window import Settled
from outpost.core.detect.finding import Finding
from outpost.core.detect.merge import merge
from outpost.core.detect.normalise import Normalised, is_plain, normalise, whole_units
from outpost.core.detect.pattern import Scanner
from outpost.core.detect.rules_base import CONTEXT_CHARS

_LEFT_CHARS = CONTEXT_CHARS + 1  # and the neighbour of the first context word
_EAGER_CHARS = 256  # up to here every piece is looked at: longer than any candidate in clean text


class ScanStream:
    """One channel under inspection: an ``Inspector`` for ``chat.window``."""

    def __init__(self, scanner: Scanner, *, json_string: bool = False) -> None:
        """Start a channel.

        Args:
            scanner: may serve many streams of one thread.
            json_string: the channel is a JSON document given as a string; escapes are read through.
        """
        self._scanner = scanner
        self._json_string = json_string
        self._cut = ""  # beginning of an escape sequence
        self._text = ""  # left context and all that is held, normalised
        self._starts: list[int] | None = None  # the way back, as in ``Normalised``
        self._ends: list[int] | None = None
        self._size = 0  # original characters of ``_text``
        self._shift = 0  # original characters before the first of ``_text``
        self._judged = 0  # start positions of ``_text`` that are judged
        self._settled = 0  # characters of ``_text`` that are settled
        self._floor = 0  # end in ``_text`` of the last finding, for overlaps with it
        self._found: list[Finding] = []  # judged, not settled; in characters of ``_text``
        self._due = 0  # characters held at which to look again

    def feed(self, delta: str) -> Settled[Finding]:
        """Read one more piece.

        Args:
            delta: untrusted; may end anywhere, in JSON also inside an escape sequence.

        Returns:
            Findings newly settled, in characters of the whole channel, and how much of the channel is settled.
        """
        if self._json_string and (self._cut or "\\" in delta):
            delta = self._cut + delta
            size = whole_units(delta)
            delta, self._cut = delta[:size], delta[size:]
        self._append(delta)
        if len(self._text) - self._settled < self._due:
            return Settled((), self._original(self._settled))
        return self._look(final=False)

    def finish(self) -> Settled[Finding]:
        """Settle the rest."""
        self._append(self._cut)
        self._cut = ""
        return self._look(final=True)

    def _append(self, delta: str) -> None:
        escapes = self._json_string and "\\" in delta
        if self._starts is None and not escapes and is_plain(delta):
            self._text += delta
            self._size += len(delta)
            return
        piece = normalise(delta, json_string=self._json_string)
        if self._starts is not None or piece.starts is not None:
            held = Normalised(self._text, self._starts, self._ends, self._size)
            (starts, ends), (more_starts, more_ends) = _listed(held, 0), _listed(piece, self._size)
            self._starts, self._ends = starts + more_starts, ends + more_ends
        self._text += piece.text
        self._size += piece.size

    def _original(self, index: int) -> int:
        if self._starts is None:
            return self._shift + index
        return self._shift + (self._starts[index] if index < len(self._starts) else self._size)

    def _look(self, *, final: bool) -> Settled[Finding]:
        text = self._text
        first_open = len(text)
        if not final:
            still_open = self._scanner.open_candidate.search(text, self._judged)
            first_open = len(text) if still_open is None else still_open.start()
        if first_open > self._judged:
            self._found += self._scanner.matches(text, self._judged, first_open)
            self._judged = first_open
        self._settled = first_open
        done = tuple(self._moved(finding) for finding in self._settle(first_open)) if self._found else ()
        upto = self._original(self._settled)
        self._trim()
        return Settled(done, upto)

    def _settle(self, first_open: int) -> list[Finding]:
        """Findings that nothing can reach any more. The first other one is held from its start."""
        merged = merge(self._found, self._floor)
        done = [finding for finding in merged if finding.end <= first_open]
        if done:
            self._floor = floor = done[-1].end
            self._found = [finding for finding in self._found if finding.end > floor]
        if len(done) < len(merged):
            self._settled = min(merged[len(done)].start, first_open)
        else:
            self._found = []
        return done

    def _moved(self, finding: Finding) -> Finding:
        """A finding in original characters of the channel."""
        last = finding.end - 1
        end = self._shift + (last + 1 if self._ends is None else self._ends[last])
        return replace(finding, start=self._original(finding.start), end=end)

    def _trim(self) -> None:
        """Forget what is neither held nor left context."""
        held = len(self._text) - self._settled
        self._due = held + held // 8 if held > _EAGER_CHARS else 0
        drop = min(self._settled, self._judged - _LEFT_CHARS)
        if drop < _LEFT_CHARS:  # not worth the copy yet
            return
        by = self._original(drop) - self._shift
        if self._starts is not None and self._ends is not None:
            self._starts = [start - by for start in self._starts[drop:]]
            self._ends = [end - by for end in self._ends[drop:]]
        self._text = self._text[drop:]
        self._size -= by
        self._shift += by
        self._judged -= drop
        self._settled -= drop
        self._floor = max(self._floor - drop, 0)
        self._found = [replace(found, start=found.start - drop, end=found.end - drop) for found in self._found]


def _listed(piece: Normalised, offset: int) -> tuple[list[int], list[int]]:
    """Both ways back of a piece as lists, moved by ``offset``."""
    if piece.starts is None or piece.ends is None:
        return list(range(offset, offset + len(piece.text))), list(range(offset + 1, offset + 1 + len(piece.text)))
    return [start + offset for start in piece.starts], [end + offset for end in piece.ends]
