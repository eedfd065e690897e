"""Name lookups: one a host, few at once, and those that hang hold up no more than they must."""

from __future__ import annotations

import math

from imagesys_lib.fetch.http.lookups import AT_ONCE, HANGS_FOR, KNOWN_FOR, Lookups


def begun(lookups: Lookups, *hosts: str, now: float = 0.0) -> list[bool]:
    answers = []
    for host in hosts:
        answers.append(lookups.may_ask(host, now))
        if answers[-1]:
            lookups.begin(host, now)
    return answers


def test_one_host_is_looked_up_once_and_then_known_for_a_while():
    lookups = Lookups()
    assert begun(lookups, "a", "a") == [True, False]
    assert lookups.end("a", 1.0, known=True) == ["a"]
    assert begun(lookups, "a", "a", "a", now=1.0) == [True, True, True]
    assert begun(lookups, "a", "a", now=1.0 + KNOWN_FOR) == [True, False]


def test_only_so_many_are_looked_up_at_once_the_others_in_order():
    lookups = Lookups()
    hosts = [str(n) for n in range(AT_ONCE + 3)]
    assert begun(lookups, *hosts).count(True) == AT_ONCE
    assert lookups.next_at == math.inf
    assert lookups.end("0", 1.0, known=False) == ["0", str(AT_ONCE)]
    assert lookups.end("0", 1.0, known=False) == []
    assert lookups.end("1", 1.0, known=True) == ["1", str(AT_ONCE + 1), str(AT_ONCE + 2)]
    assert lookups.next_at == math.inf


def test_a_lookup_that_hangs_counts_until_the_resolver_has_given_up():
    lookups = Lookups()
    hosts = [str(n) for n in range(AT_ONCE)]
    begun(lookups, *hosts)
    assert begun(lookups, "other") == [False]
    for host in hosts:
        assert lookups.end(host, 10.0, known=False, hangs=True) == [host]
    assert lookups.due(10.0) == []
    assert lookups.next_at == 10.0 + HANGS_FOR
    assert lookups.due(10.0 + HANGS_FOR) == ["other"]
    assert begun(lookups, "other", now=31.0) == [True]


def test_a_turn_that_was_not_used_goes_to_the_next():
    lookups = Lookups()
    hosts = [str(n) for n in range(AT_ONCE)]
    begun(lookups, *hosts)
    begun(lookups, "x", "y")
    assert lookups.end("0", 1.0, known=True) == ["0", "x"]
    assert lookups.next_at == -math.inf  # x may have been refused by its limiter
    assert lookups.due(1.0) == ["y"]


def test_behind_a_proxy_nothing_is_looked_up_here():
    lookups = Lookups(math.inf)
    assert all(begun(lookups, *map(str, range(1000))))
