"""The order of events and decisions."""

from __future__ import annotations

import random

from sim.cycles.agenda import Agenda


def test_actions_run_in_the_order_of_their_cycles() -> None:
    cycles = random.Random(1).sample(range(100), 50)
    agenda, seen = Agenda(), list[int]()
    for cycle in cycles:
        agenda.at(cycle, seen.append, cycle)
    agenda.run()
    assert seen == sorted(cycles)


def test_actions_of_one_cycle_run_as_they_were_planned() -> None:
    agenda, seen = Agenda(), list[str]()
    for name in "abc":
        agenda.at(7, seen.append, name)
    agenda.run()
    assert seen == ["a", "b", "c"]


def test_a_decision_sees_all_events_of_its_cycle() -> None:
    """Even one that another event plans for the same cycle."""
    agenda, seen = Agenda(), list[str]()
    agenda.decide_at(3, lambda: seen.append("decision"))
    agenda.at(3, lambda: agenda.at(3, seen.append, "planned late"))
    agenda.at(3, seen.append, "event")
    agenda.at(4, seen.append, "next cycle")
    agenda.run()
    assert seen == ["event", "planned late", "decision", "next cycle"]


def test_now_is_the_cycle_that_is_worked_on() -> None:
    agenda, seen = Agenda(), list[int]()

    def step() -> None:
        seen.append(agenda.now)
        if len(seen) < 4:
            agenda.at(agenda.now + 10, step)

    agenda.at(5, step)
    agenda.run()
    assert seen == [5, 15, 25, 35]
