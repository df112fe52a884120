"""Which tests of the contract ask for what the cloud target does not promise, and why."""

from __future__ import annotations

_HOST = "git gate and supervision run on this host; that they are refused is tested in tests/smolmachines"
_GATEWAY = "it has no gateway of ours; the cloud's own filter is tested in tests/smolmachines"
_ITS_OWN = "the cloud's machine is the cloud's to name and to wire"
_MEMORY = "a branch is a clone of the running machine, programs included"

NOT_PROMISED = {
    "test_broker.py": _HOST,
    "test_git_gate.py": _HOST,
    "test_a_listed_host_is_reached_and_its_certificate_trusted": _GATEWAY,
    "test_what_is_not_listed_is_refused_with_the_rule_and_the_way_out": _GATEWAY,
    "test_a_bottle_without_routes_has_no_gateway_until_a_host_is_allowed": _GATEWAY,
    "test_a_policy_that_is_narrowed_ends_what_it_no_longer_allows": _GATEWAY,
    "test_programs_find_the_gateway_by_the_same_variables_on_every_backend": _GATEWAY,
    "test_the_users_own_variable_wins": _GATEWAY,
    "test_gateway_names_are_the_bottles_own_loopback": _ITS_OWN,
    "test_the_host_name_is_the_bottles": _ITS_OWN,
    "test_a_branch_has_a_gateway_and_a_broker_of_its_own": _GATEWAY,
    "test_programs_do_not_go_along": _MEMORY,
    "test_a_fork_bomb_stays_in_its_bottle": "root's sandbox that plays the machine exempts from RLIMIT_NPROC",
}


def not_promised(test: str, file: str) -> str:
    """Return why the cloud need not pass *test*, or no test of *file*; empty when it must."""
    return NOT_PROMISED.get(test) or NOT_PROMISED.get(file, "")
