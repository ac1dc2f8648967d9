"""docs/policy.md says what the code does: its example compiles, and every field, action and code stands there."""

import re
from pathlib import Path

from outpost.core.decision import Action
from outpost.core.policy import content, lint, source
from outpost.core.policy import document as doc
from outpost.core.policy.compile import CODES, DEFAULT_BLOCKED, STRICTNESS, compile_document
from outpost.core.policy.evaluate import MAX_MATCHED

PAGE = (Path(__file__).parents[4] / "docs" / "policy.md").read_text(encoding="utf-8")


def test_the_example_compiles_without_an_error() -> None:
    (example,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    document = doc.parse_document(example.encode())
    assert compile_document(document).digest
    assert {finding.level for finding in lint.lint(document)} <= {lint.LintLevel.WARNING}


def test_every_field_action_and_code_is_described() -> None:
    words = set(re.findall(r"`([^`\n]+)`", PAGE)) | {cell.strip() for cell in PAGE.replace("\n", "|").split("|")}
    assert set(doc.Conditions.model_fields) <= words
    assert set(Action) <= words
    assert {*CODES.values(), DEFAULT_BLOCKED} <= words


def test_every_remark_of_the_linter_is_described() -> None:
    text = Path(lint.__file__).read_text(encoding="utf-8")
    used = set(re.findall(r'"policy\.lint\.([a-z_]+)"', text)) | set(re.findall(r'_of\([^"]*"([a-z_]+)"', text))
    described = set(re.findall(r"`policy\.lint\.([a-z_]+)`", PAGE))
    assert used == described
    assert len(used) == 9


def test_the_order_of_strictness_and_the_bounds_are_the_codes() -> None:
    order = sorted((action for action in Action if action is not Action.REDACT), key=STRICTNESS.__getitem__)
    assert f"from the weakest: {', '.join(order)}." in PAGE
    bounds = [
        f"{doc.MAX_PACKS}, {doc.MAX_RULES}, {doc.MAX_CONTENT_RULES}",
        f"{doc.MAX_VALUES}, {doc.MAX_REGEXES_PER_RULE}",
        f"user chains | {doc.MAX_USER_CHAINS}",
        f"ids | {doc.MAX_ID_CHARS} characters",
        f"message | {doc.MAX_MESSAGE_CHARS} characters",
        f"{source.MAX_DOCUMENT_BYTES // 1024**2} MiB, {source.MAX_DEPTH} levels, {source.MAX_NODES:,} keys",
        f"{doc.MAX_REGEX_CHARS} characters",
        f"{content.MAX_POSITIONS:,}\npositions",
        f"{content.MAX_TOTAL_POSITIONS:,} over the document",
        f"the first {MAX_MATCHED}",
    ]
    assert [bound for bound in bounds if bound not in PAGE] == []
