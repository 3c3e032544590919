"""Python looks for garbage seldom while Keras is imported, and afterwards not through what is there by then."""

from __future__ import annotations

import gc

from cluster.garbage import SPARING, sparing


def test_it_looks_seldom_until_it_is_told() -> None:
    before = gc.get_threshold()
    with sparing() as imported:
        assert gc.get_threshold() == SPARING != before
        imported()
        assert gc.get_threshold() == before
    assert gc.get_threshold() == before


def test_what_was_imported_is_left_out_until_the_end() -> None:
    assert gc.get_freeze_count() == 0
    there = len(gc.get_objects())
    with sparing() as imported:
        assert gc.get_freeze_count() == 0
        imported()
        assert gc.get_freeze_count() >= there > len(gc.get_objects())
    assert gc.get_freeze_count() == 0


def test_a_program_that_never_comes_so_far_leaves_it_as_it_was() -> None:
    before = gc.get_threshold()
    with sparing():
        pass
    assert gc.get_threshold() == before


def test_what_a_program_sets_itself_stays() -> None:
    before = gc.get_threshold()
    try:
        with sparing() as imported:
            gc.set_threshold(5000, 5, 5)
            imported()
        assert gc.get_threshold() == (5000, 5, 5)
    finally:
        gc.set_threshold(*before)
