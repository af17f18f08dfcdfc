"""The arbiter of the external memory, and the write port that the post engine has first."""

from __future__ import annotations

import pytest

from sim.cycles.agenda import Agenda
from sim.cycles.memory_port import FIRST_WORD_CYCLES, MemoryPort
from sim.cycles.ports import WritePort


def connected(latency: int = 0) -> tuple[Agenda, MemoryPort, list[tuple[str, int]]]:
    """A port that notes who was chosen when."""
    agenda = Agenda()
    port, chosen = MemoryPort(agenda, latency), list[tuple[str, int]]()
    port.fetch = lambda: chosen.append(("fetch", agenda.now))
    port.dma = lambda: chosen.append(("dma", agenda.now))
    return agenda, port, chosen


def test_the_fetch_goes_first_when_both_ask_in_one_cycle() -> None:
    agenda, port, chosen = connected()
    agenda.at(4, port.ask_dma)
    agenda.at(4, port.ask_fetch)
    agenda.run()
    assert chosen == [("fetch", 4)]


def test_a_burst_is_never_interrupted() -> None:
    agenda, port, chosen = connected()
    agenda.at(0, port.ask_dma)
    agenda.at(1, port.ask_fetch)
    agenda.at(2, port.end_burst, 20)
    agenda.run()
    assert chosen == [("dma", 0), ("fetch", 21)]


def test_a_slower_memory_answers_later() -> None:
    port = connected(latency=3)[1]
    burst = port.read(address=40, length=4)
    assert [burst.take(0) for _ in range(4)] == [FIRST_WORD_CYCLES + 3 + k for k in range(4)]
    assert port.write(address=40, length=4) == 2


def test_a_port_without_owners_says_so() -> None:
    agenda = Agenda()
    agenda.at(0, MemoryPort(agenda, 0).ask_fetch)
    with pytest.raises(AssertionError, match="must be connected"):
        agenda.run()


def test_writes_of_the_post_engine_push_others_behind_them() -> None:
    port = WritePort(lookahead=10)
    port.use(10, 3)
    port.use(13, 2)  # joins the ones before
    port.use(20, 1)
    assert [port.next_free(cycle) for cycle in (9, 10, 12, 15, 19, 20, 21)] == [
        9,
        15,
        15,
        15,
        19,
        21,
        21,
    ]
