"""Random policies and requests over a small vocabulary, so that rules meet requests often."""

from typing import Any

from hypothesis import strategies as st

from outpost.core.decision import Direction, EntityCount, Features

Data = dict[str, Any]

TYPES = ["email", "iban", "phone"]
GROUPS = ["dev", "hr", "ops"]
MODELS = ["gpt-4o", "GPT-4o-mini", "o3", "claude-x"]
PACKS = ["p0", "p1", "p2"]


def some(values: list[Any]) -> st.SearchStrategy[list[Any]]:
    return st.lists(st.sampled_from(values), min_size=1, max_size=2)


CONDITIONS = st.fixed_dictionaries(
    {},
    optional={
        "user_groups": some(GROUPS),
        "agents": some(["bot", "crawler"]),
        "entity_types": some(TYPES),
        "entity_confidence_min": st.sampled_from([0, 0.5, "0.75", 0.29, 1]),
        "entity_count_min": st.integers(1, 4),
        "content_regex": some(["falcon", "eagle|kite"]),
        "providers": some(["openai", "azure"]),
        "models": some(["gpt-*", "GPT-4O", "*-mini", "*4*", "o3", "*"]),
        "channels": some(["interactive", "api"]),
        "risk_min": st.sampled_from([0, 50, 100]),
        "intents": some(["code", "chat"]),
        "countries": some(["NO", "DE"]),
        "anonymous_ip": st.booleans(),
        "data_classes": some(["public", "internal", "phi"]),
        "tokens_min": st.sampled_from([0, 10]),
        "tokens_max": st.sampled_from([5, 10, 100]),
    },
)
# Most rules have few conditions, or nothing would ever fire.
FEW = CONDITIONS.map(lambda d: dict(list(d.items())[: len(d) % 4]))


@st.composite
def rules(draw: st.DrawFn, rule_id: str, pack_required: bool) -> Data:
    required = draw(st.booleans()) and draw(st.booleans())
    actions = ["BLOCK", "CANCEL", "PROMPT", "ALLOW_WITH_OVERRIDE", "REDACT", "REDACT", "ROUTE_TO"]
    action = draw(st.sampled_from(actions if required or pack_required else [*actions, "ALLOW", "ALLOW"]))
    routed = action == "ROUTE_TO"
    made: Data = {
        "id": rule_id,
        "sequence": draw(st.integers(0, 5)),
        "applies_to": "input" if routed else draw(st.sampled_from(["input", "output", "both"])),
        "action": action,
        "conditions": draw(FEW),
        "required": required,
    }
    return made | ({"route_to": "local"} if routed else {})


@st.composite
def documents(draw: st.DrawFn) -> Data:
    packs = []
    for pack_id in PACKS:
        required = draw(st.sampled_from([False, False, False, True]))
        made = [draw(rules(f"r{n}", required)) for n in range(draw(st.integers(0, 4)))]
        packs.append({"id": pack_id, "name": "P", "kind": "custom", "required": required, "rules": made})
    chains = st.lists(st.sampled_from(PACKS), max_size=3)
    names = st.sampled_from(["user:ann", "group:dev", "group:ops"])
    sides = st.sampled_from(["ALLOW", "BLOCK"])
    return {
        "schema": "outpost.policy/1",
        "org": "acme",
        "default": {"input": draw(sides), "output": draw(sides)},
        "combining": draw(st.sampled_from(["first_applicable", "deny_overrides"])),
        "packs": packs,
        "user_chains": draw(st.dictionaries(names, chains, max_size=2)),
        "org_chain": draw(chains),
    }


FEATURES = st.builds(
    Features,
    direction=st.sampled_from(Direction),
    user=st.sampled_from(["", "ann", "bob"]),
    user_groups=st.lists(st.sampled_from(GROUPS), max_size=2).map(tuple),
    agent=st.sampled_from(["", "bot"]),
    entities=st.lists(
        st.builds(EntityCount, st.sampled_from([*TYPES, "other"]), st.integers(0, 4), st.integers(0, 100)), max_size=4
    ).map(tuple),
    content_matches=st.lists(st.sampled_from([f"p{p}/r{r}" for p in range(3) for r in range(4)]), max_size=4).map(
        tuple
    ),
    provider=st.sampled_from(["openai", "azure", "other"]),
    model=st.sampled_from(MODELS),
    channel=st.sampled_from(["interactive", "api"]),
    risk=st.integers(0, 100),
    intent=st.sampled_from(["", "code"]),
    country=st.sampled_from(["", "NO", "no", "de"]),
    anonymous_ip=st.booleans(),
    data_class=st.sampled_from(["public", "internal", "confidential", "phi"]),
    tokens=st.integers(0, 101),
)
