"""The order of samples: complete epochs, disjoint ranks, exact rates, no state."""

from __future__ import annotations

import itertools
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ladder.data.training.encoded import ONLY
from ladder.data.training.sampler import BLOCK, Draw, Shares, StepBatches

SIZES = {"t2i": 37, "ti2i": 11, "unused": 5}
BUCKETS = {"t2i": {"wide": 20, "tall": 37}, "ti2i": {"wide": 7, "tall": 9, "square": 4}}


def batches(**changes) -> StepBatches:
    """`sizes` may be those of sets with one bucket."""
    settings = {"sizes": SIZES, "rates": {"t2i": 0.7, "ti2i": 0.3}, "steps": 40, "batch": 6}
    settings |= changes
    settings["sizes"] = {
        name: size if isinstance(size, dict) else {ONLY: size}
        for name, size in settings["sizes"].items()
    }
    return StepBatches(**settings)


def whole_sequence(world_size: int, steps: int, **changes) -> list[Draw]:
    """What all ranks see, in the order of positions."""
    ranks = [
        batches(rank=rank, world_size=world_size, steps=steps, **changes)
        for rank in range(world_size)
    ]
    return [draw for step in range(steps) for rank in ranks for draw in rank.draws(step)]


@pytest.mark.parametrize("world_size", [1, 2, 3])
@given(
    sizes=st.tuples(st.integers(1, 60), st.integers(1, 60)),
    rate=st.floats(0.05, 0.95),
    batch=st.integers(1, 9),
    seed=st.integers(0, 2**32),
)
@settings(max_examples=25, deadline=None)
def test_epochs_are_complete_and_ranks_disjoint(world_size, sizes, rate, batch, seed):
    """Over all ranks together, each set comes as one whole permutation after another."""
    chosen = {
        "sizes": dict(zip("ab", sizes, strict=True)),
        "rates": {"a": rate, "b": 1 - rate},
        "batch": batch,
        "seed": seed,
    }
    sequence = whole_sequence(world_size, 60, **chosen)
    for name, size in chosen["sizes"].items():
        indices = [draw.index for draw in sequence if draw.name == name]
        for first in range(0, len(indices) - size + 1, size):
            assert sorted(indices[first : first + size]) == list(range(size))
        rest = indices[len(indices) // size * size :]
        assert len(set(rest)) == len(rest)


@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_the_sequence_does_not_depend_on_the_number_of_ranks(world_size):
    """Nor what is drawn of a sample on the number of ranks that share a batch."""
    alone = [(draw.name, draw.index) for draw in whole_sequence(1, 30)]
    several = [(draw.name, draw.index) for draw in whole_sequence(world_size, 30)]
    assert several[: len(alone)] == alone
    assert whole_sequence(world_size, 30) == whole_sequence(1, 30, batch=6 * world_size)


@given(start=st.integers(0, 40), accumulate=st.sampled_from([1, 2, 3, 6]))
@settings(max_examples=40, deadline=None)
def test_it_may_start_at_any_step_and_in_any_micro_batches(start, accumulate):
    whole = list(itertools.chain(*batches(seed=3, rank=1, world_size=2)))
    part = batches(seed=3, rank=1, world_size=2, start=start, accumulate=accumulate)
    assert list(itertools.chain(*part)) == whole[start * 6 :]
    assert {len(batch) for batch in part} <= {6 // accumulate}
    assert len(part) == 40 * accumulate, "the length counts from step 0"


@given(st.lists(st.floats(0.01, 1), min_size=1, max_size=5))
@settings(max_examples=30, deadline=None)
def test_rates_are_exact_over_a_block(weights):
    rates = {str(number): weight / sum(weights) for number, weight in enumerate(weights)}
    sequence = whole_sequence(
        1, 2 * BLOCK // 50, sizes=dict.fromkeys(rates, 7), rates=rates, batch=50
    )
    for block in (sequence[:BLOCK], sequence[BLOCK:]):
        counts = Counter(draw.name for draw in block)
        for name, rate in rates.items():
            assert abs(counts[name] - rate * BLOCK) < 1


def test_the_order_is_the_one_of_earlier_trainings():
    """Recorded before there were buckets: what is trained stays what it was, to the byte."""
    recorded = [
        ("ti2i", 4),
        ("ti2i", 8),
        ("t2i", 21),
        ("t2i", 32),
        ("t2i", 13),
        ("t2i", 20),
        ("t2i", 35),
        ("t2i", 27),
        ("ti2i", 6),
        ("t2i", 25),
        ("ti2i", 5),
        ("t2i", 30),
    ]
    drawn = whole_sequence(1, 2, stage="t2i")
    assert [(draw.name, draw.index) for draw in drawn] == recorded
    places = itertools.product(range(2), range(6))
    assert [draw.seed for draw in drawn] == [(0, 1690443666, 0, step, n) for step, n in places]


@given(
    st.lists(st.floats(0.0001, 1), min_size=1, max_size=6),
    st.integers(0, 3),
)
@settings(max_examples=30, deadline=None)
def test_what_rounding_leaves_over_is_made_up_for(weights, seed):
    """After any number of blocks each set has had its share, to a few positions."""
    shares = Shares({str(n): weight for n, weight in enumerate(weights)}, (seed,))
    for blocks in (1, 7, 40):
        for name, count in shares.before(blocks * BLOCK).items():
            exact = weights[int(name)] / sum(weights) * blocks * BLOCK
            assert abs(count - exact) < len(weights)


def test_a_share_below_a_position_a_block_is_drawn():
    rates = {"rare": 0.0004, "t2i": 0.9996}
    drawn = Counter(
        draw.name
        for draw in whole_sequence(1, 200, rates=rates, sizes={"rare": 3, "t2i": 9}, batch=50)
    )
    assert drawn["rare"] == 4


@given(st.integers(0, 5000))
@settings(max_examples=30, deadline=None)
def test_what_comes_before_is_counted(position):
    shares = Shares({"a": 0.61234, "b": 0.38766}, (1,))
    counted = Counter(shares.at(place)[0] for place in range(position))
    assert shares.before(position) == {"a": counted["a"], "b": counted["b"]}
    name, number = shares.at(position)
    assert number == counted[name]


def test_a_step_draws_from_one_bucket():
    """All ranks from the same one; each bucket as often as it has samples."""
    steps, ranks = 2000, [batches(sizes=BUCKETS, rank=r, world_size=2, steps=2000) for r in (0, 1)]
    counts = Counter()
    for step in range(steps):
        (bucket,) = {draw.bucket for rank in ranks for draw in rank.draws(step)}
        counts[bucket] += 1
    for bucket, count in counts.items():
        share = 0.7 * BUCKETS["t2i"].get(bucket, 0) / 57 + 0.3 * BUCKETS["ti2i"][bucket] / 20
        assert count == pytest.approx(steps * share, abs=2)


@pytest.mark.parametrize("sizes", [SIZES, BUCKETS])
@pytest.mark.parametrize("ranks", [(8, 4, 8), (4, 8, 1), (2, 1, 3)])
def test_on_another_number_of_ranks_it_goes_on_without_repeating_or_leaving_out(sizes, ranks):
    """Each set and bucket comes as one whole permutation after another, over all resumptions."""
    sequence: list[Draw] = []
    seen, start = None, 0
    for world_size in ranks:
        end = start + 37
        group = [
            batches(
                sizes=sizes, rank=rank, world_size=world_size, steps=200, start=start, seen=seen
            )
            for rank in range(world_size)
        ]
        for step in range(start, end):
            sequence += [draw for rank in group for draw in rank.draws(step)]
        (seen,) = {tuple(rank.seen(end).items()) for rank in group}
        seen, start = dict(seen), end
    assert sum(seen.values()) == len(sequence) == 37 * 6 * sum(ranks)
    kinds = {(draw.name, draw.bucket) for draw in sequence}
    for name, bucket in kinds:
        size = SIZES[name] if sizes is SIZES else BUCKETS[name][bucket]
        indices = [d.index for d in sequence if (d.name, d.bucket) == (name, bucket)]
        for first in range(0, len(indices), size):
            epoch = indices[first : first + size]
            assert len({*epoch}) == len(epoch)
    assert len({draw.seed for draw in sequence}) == len(sequence)


def test_what_was_seen_is_of_the_same_buckets():
    with pytest.raises(ValueError, match=r"of the buckets \[''\], got \['wide'\]"):
        batches(start=1, seen={"wide": 6})


def test_sets_are_mixed_within_batches():
    mixed = [len({draw.name for draw in batch}) == 2 for batch in batches(batch=20)]
    assert sum(mixed) >= 38


def test_a_rate_of_zero_is_never_drawn():
    sequence = whole_sequence(1, 40, rates={"t2i": 1.0, "ti2i": 0.0}, sizes={"t2i": 37})
    assert {draw.name for draw in sequence} == {"t2i"}


def test_every_draw_has_its_own_seed():
    sequence = whole_sequence(3, 20)
    sequence += whole_sequence(3, 20, stage="other") + whole_sequence(3, 20, seed=1)
    assert len({draw.seed for draw in sequence}) == len(sequence)


def test_seed_stage_and_epoch_change_the_order():
    def order(**changes) -> list[int]:
        only = {"rates": {"t2i": 1.0}, "batch": 37, "steps": 2}
        return [[draw.index for draw in batch] for batch in batches(**only | changes)]

    (first, second), (other_seed, _), (other_stage, _) = order(), order(seed=1), order(stage="x")
    orders = [first, second, other_seed, other_stage]
    assert len({tuple(indices) for indices in orders}) == 4
    assert all(sorted(indices) == list(range(37)) for indices in orders)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rates": {"t2i": 0.5, "nothing": 0.5}}, "set nothing of the mixture has no samples"),
        ({"sizes": {"t2i": 3, "ti2i": 0}}, "set ti2i of the mixture has no samples"),
        ({"rates": {"t2i": 0.5, "ti2i": 0.3}}, "sum to 1, got"),
        ({"accumulate": 4}, "accumulate must divide batch 6, got 4"),
        ({"rank": 2, "world_size": 2}, "rank must be 0 to 1, got 2"),
        ({"start": 41}, "start must be 0 to 40, got 41"),
    ],
)
def test_errors_name_the_rule_and_the_value(changes, message):
    with pytest.raises(ValueError, match=message):
        batches(**changes)


def test_a_share_that_gets_no_sample_is_an_error():
    """.0004 of 2,000 samples is none; of 2,500 it is one."""
    sizes, rates = {"a": {"": 50}, "b": {"": 50}}, {"a": 0.9996, "b": 0.0004}
    with pytest.raises(ValueError, match=r"b with a share of 0.0004 of 2000 samples gets none"):
        StepBatches(sizes, rates, steps=100, batch=10, world_size=2)
    StepBatches(sizes, rates, steps=125, batch=10, world_size=2)
