"""What `outpost status` joins: the agent's word and a worker's, the missing provider key among the functions."""

from outpost.admin.views import join_views

KNOWN = {"acme": {"outpost": "op-1", "functions": {"audit": "ok"}}}


def test_a_missing_provider_key_is_a_failed_function() -> None:
    states = {"acme": {"state": "ACTIVE", "code": "", "reason": "", "provider_keys": "secret.missing"}}
    (org,) = join_views(KNOWN, states).values()
    assert org["functions"] == {"audit": "ok", "provider_keys": "secret.missing"}
    assert org["state"] == "ACTIVE"
    assert "provider_keys" not in org
    assert KNOWN["acme"]["functions"] == {"audit": "ok"}


def test_an_org_of_which_no_worker_spoke_is_unknown() -> None:
    (org,) = join_views(KNOWN, {}).values()
    assert (org["state"], org["functions"]) == ("UNKNOWN", {"audit": "ok"})
