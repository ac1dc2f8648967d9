"""Policy over the texts of one answer, finding by finding while it streams or once over the whole."""

from collections.abc import Sequence
from dataclasses import replace

from outpost.core.chat.window import ChannelWindow, Settled, Verdict
from outpost.core.decision import Decision, Direction, Features
from outpost.core.detect.finding import Finding
from outpost.core.detect.placeholders import PlaceholderMap
from outpost.core.detect.stream import ScanStream
from outpost.core.inspection import BYTES_PER_TOKEN, Inspector, count_entities, is_denial, judge, unredactable
from outpost.core.policy.compile import Program
from outpost.core.policy.document import Conditions


def needs_whole_answer(policy: Program) -> bool:
    """Whether an output rule asks for what only the whole answer can tell: then a stream is held to its end."""
    return any(
        _asks_for_whole(rule.conditions)
        for pack in policy.document.packs
        for rule in pack.rules
        if rule.applies_to.covers(Direction.OUTPUT)
    )


def _asks_for_whole(conditions: Conditions) -> bool:
    return bool(
        conditions.content_regex
        or conditions.tokens_min is not None
        or conditions.tokens_max is not None
        or (conditions.entity_count_min or 1) > 1
    )


class AnswerJudge:
    """Judges findings as they come; implements ``translate.Judges``.

    Attributes:
        decision: newest verdict.
        features: what it looked at.
    """

    def __init__(
        self, inspector: Inspector, base: Features, placeholders: PlaceholderMap, settled: Decision | None = None
    ) -> None:
        """Begin an answer.

        Args:
            inspector: the one that judged the request.
            base: features of the request with ``direction`` output; of the whole answer with ``settled``.
            placeholders: of the request.
            settled: the verdict over the whole answer, where one was made before.
        """
        self._inspector = inspector
        self._placeholders = placeholders
        self._findings: list[Finding] = []
        self._settled = settled
        self.features = base
        self.decision = settled if settled is not None else judge(inspector.policy, base)

    def __call__(self, finding: Finding) -> Verdict:
        """Judge one more finding, together with all before it."""
        if finding.detector in self._inspector.disabled:
            return Verdict.RELEASE
        if self._settled is None:
            self._findings.append(finding)
            self.features = replace(self.features, entities=count_entities(self._findings))
            self.decision = judge(self._inspector.policy, self.features)
        if is_denial(self.decision):
            return Verdict.STOP
        return Verdict.REDACT if finding.entity_type in self.decision.redact else Verdict.RELEASE

    def window(self, *, json_string: bool) -> ChannelWindow[Finding]:
        """Open a window for a new channel. Escapes are read through in every one, as ``Inspector.find`` does."""
        inspector = ScanStream(self._inspector.scanner, json_string=True)
        restorer = self._placeholders.stream(json_string=json_string) if self._placeholders else None
        return ChannelWindow(inspector, self, restorer)

    def find(self, text: str) -> Sequence[Finding]:
        """Findings of a whole text."""
        return self._inspector.find(text)

    def stops(self, findings: Sequence[Finding]) -> bool:
        """Judge findings that stand where nothing can be replaced."""
        for finding in findings:
            verdict = self(finding)
            if verdict is Verdict.REDACT:
                self.decision = unredactable(self.decision)
            if verdict is not Verdict.RELEASE:
                return True
        return False


class _Remembering:
    """An inspector of a channel that keeps the text."""

    def __init__(self, inner: ScanStream) -> None:
        self._inner = inner
        self.parts: list[str] = []

    def feed(self, delta: str) -> Settled[Finding]:
        """Keep a piece and pass it on."""
        self.parts.append(delta)
        return self._inner.feed(delta)

    def finish(self) -> Settled[Finding]:
        """Pass on."""
        return self._inner.finish()


class AnswerSurvey:
    """Lets everything through and remembers it: the first pass over an answer that is judged as a whole.

    Only its figures are used; what comes out of its windows goes nowhere.
    """

    def __init__(self, inspector: Inspector) -> None:
        self._inspector = inspector
        self._findings: list[Finding] = []
        self._channels: list[_Remembering] = []
        self._texts: list[str] = []

    def window(self, *, json_string: bool) -> ChannelWindow[Finding]:
        """Open a window for a new channel."""
        inspector = _Remembering(ScanStream(self._inspector.scanner, json_string=True))
        self._channels.append(inspector)
        return ChannelWindow(inspector, self._note)

    def _note(self, finding: Finding) -> Verdict:
        if finding.detector not in self._inspector.disabled:
            self._findings.append(finding)
        return Verdict.RELEASE

    def find(self, text: str) -> Sequence[Finding]:
        """Findings of a whole text."""
        self._texts.append(text)
        return self._inspector.find(text)

    def stops(self, findings: Sequence[Finding]) -> bool:
        """Nothing stops a survey."""
        self._findings.extend(findings)
        return False

    def features(self, base: Features) -> Features:
        """What policy may look at, over the whole answer."""
        texts = [*self._texts, *("".join(channel.parts) for channel in self._channels)]
        return replace(
            base,
            entities=count_entities(self._findings),
            content_matches=self._inspector.policy.match_content(texts),
            tokens=sum(len(text.encode()) for text in texts) // BYTES_PER_TOKEN,
        )
