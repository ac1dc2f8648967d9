"""Decisions that outposts recorded, read back out of their audit records for a judgement in the shadow."""

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from outpost.core.decision import Direction, EntityCount, Features
from outpost.core.shadow import Past

EVENTS = ("request.decided", "request.finished")


def pasts_in(entries: Iterable[bytes]) -> Iterator[Past]:
    """Decisions in records, in their order; whatever holds none, or none that this version can read, is left out.

    A verdict on an answer does not say which release gave it; it is that of the prompt's, if that is among the records.
    """
    releases: dict[str, int] = {}
    for entry in entries:
        try:
            record = json.loads(entry)
            if record.get("event") not in EVENTS or "decision" not in record or "features" not in record:
                continue
            request = str(record["request_id"])
            if "revision" in record:
                releases[request] = int(str(record["revision"]).partition(".")[0])
            if request in releases:
                yield _past(record, releases[request])
        except (ValueError, KeyError, TypeError, AttributeError):
            continue


def _past(record: Mapping[str, Any], release: int) -> Past:
    decision = record["decision"]
    return Past(
        features=_features(record["features"]),
        action=str(decision["action"]),
        code=str(decision["code"]),
        redact=tuple(str(each) for each in decision["redact"]),
        release=release,
    )


def _features(plain: Mapping[str, Any]) -> Features:
    entities = tuple(
        EntityCount(str(each["entity_type"]), int(each["count"]), int(each["confidence"])) for each in plain["entities"]
    )
    return Features(
        direction=Direction(plain["direction"]),
        user=str(plain["user"]),
        user_groups=tuple(str(each) for each in plain["user_groups"]),
        agent=str(plain["agent"]),
        entities=entities,
        content_matches=tuple(str(each) for each in plain["content_matches"]),
        provider=str(plain["provider"]),
        model=str(plain["model"]),
        channel=str(plain["channel"]),
        risk=int(plain["risk"]),
        intent=str(plain["intent"]),
        country=str(plain["country"]),
        anonymous_ip=bool(plain["anonymous_ip"]),
        data_class=str(plain["data_class"]),
        tokens=int(plain["tokens"]),
    )
