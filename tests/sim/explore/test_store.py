"""Outcomes on disk."""

import sqlite3
from dataclasses import replace

import pytest

from hw.config import preset
from sim.explore.evaluation import Outcome
from sim.explore.fields import changed, with_external_memory
from sim.explore.store import Store, StoreError, outcome_key

OUTCOME = Outcome(cycles=12, counters={"total": 7}, passes=3, vectors=4, fitted={"rows": 4})
TINY = preset("tiny")
SDRAM = with_external_memory(TINY, "16Mx16")


def test_what_is_put_is_there_when_opened_again(tmp_path):
    path = tmp_path / "deep" / "outcomes.db"
    with Store(path) as store:
        store.put({"a": OUTCOME})
        assert (store.get("a"), store.get("b")) == (OUTCOME, None)
    with Store(path) as store:
        assert store.get("a") == OUTCOME
        assert len(store) == 1


def test_the_key_is_the_content_not_the_name():
    named = changed(TINY, {}, name="other")
    assert outcome_key("m", TINY) == outcome_key("m", named)
    larger = changed(TINY, {"columns": 8}, name="tiny")
    keys = [
        outcome_key("m", TINY),
        outcome_key("n", TINY),
        outcome_key("m", larger),
        outcome_key("m", TINY, ("weight_words",)),
        outcome_key("m", TINY, batch=2),
        outcome_key("m", SDRAM),
    ]
    assert len(set(keys)) == len(keys)


def test_the_clock_counts_with_an_sdram_whose_rules_are_in_nanoseconds():
    faster, other = (replace(config, clock_mhz=66.0) for config in (TINY, SDRAM))
    assert outcome_key("m", TINY) == outcome_key("m", faster)
    assert outcome_key("m", SDRAM) != outcome_key("m", other)


def test_depths_that_follow_the_model_do_not_count():
    deeper = changed(TINY, {"weight_words": 4096}, name="deeper")
    assert outcome_key("m", TINY) != outcome_key("m", deeper)
    assert outcome_key("m", TINY, ("weight_words",)) == outcome_key("m", deeper, ("weight_words",))


def test_a_file_of_another_version_is_refused(tmp_path):
    path = tmp_path / "outcomes.db"
    Store(path).__exit__()
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA user_version = 7")
    database.close()
    with pytest.raises(StoreError, match=r"outcomes.db must be of version 1, not 7: remove"):
        Store(path)


def test_a_file_that_is_no_database_is_refused(tmp_path):
    path = tmp_path / "outcomes.db"
    path.write_text("not a database at all, but long enough to be read as the head of one" * 20)
    with pytest.raises(StoreError, match="outcomes.db must be a database"):
        Store(path)
