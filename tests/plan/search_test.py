import dataclasses
import itertools
import math
import runpy
from pathlib import Path

import pytest

from sorajax import build, sharding
from sorajax.data.loader import check_batch
from sorajax.plan import chips, plan, search, search_report, work
from sorajax.plan.estimate import Assumptions
from sorajax.plan.formula import Formula
from sorajax.plan.memory import Memory
from sorajax.plan.plan import Tried
from sorajax.plan.planned import Plan
from sorajax.plan.program import Compiled
from sorajax.sharding import MeshConfig

CONFIGS = Path(__file__).parents[2] / 'configs'
CHIP, TORUS = chips.CHIPS['v5p'], (2, 2, 4)
PLACE = plan.Place('big', 'v5p:2x2x4')
GIB = 2**30


def settings():
  return build.settings(runpy.run_path(str(CONFIGS / 'ltx2.py'))['get_config']('2.3'))


@pytest.fixture(scope='module')
def steps() -> list[search.Candidate]:
  return search.candidates(settings(), CHIP, TORUS, rows=16)


@pytest.fixture(scope='module')
def shapes():
  return search.shapes_of(settings())


def formula(shapes, sizes, rows: int = 64, make=search.step_of, **transformer) -> Formula:
  own = settings()
  own = dataclasses.replace(own, transformer=dataclasses.replace(own.transformer, **transformer))
  mesh = sharding.abstract_mesh(sizes)
  return Formula(make(own, rows, mesh), dict(mesh.shape), shapes)


def communication(made: Formula) -> dict[tuple[str, tuple[str, ...]], float]:
  found: dict[tuple[str, tuple[str, ...]], float] = {}
  for one in made.collectives():
    key = one.kind, one.axes
    found[key] = found.get(key, 0.0) + one.bytes * one.times
  return found


@pytest.mark.parametrize('devices, count', [(1, 1), (2, 4), (64, 84), (12, 40)])
def test_every_mesh_is_tried_once(devices, count):
  """As many as there are ways to write the number as a product of four."""
  found = [dataclasses.astuple(one) for one in search.meshes(devices)]
  assert len(set(found)) == len(found) == count
  assert {math.prod(sizes) for sizes in found} == {devices}


def test_all_that_is_found_divides_and_the_fastest_is_first(steps):
  assert len(steps) > 30
  assert [s.seconds for s in steps] == sorted(s.seconds for s in steps)
  for one in steps:
    mesh = sharding.abstract_mesh(dataclasses.astuple(one.of.settings.mesh))
    build.check_mesh(one.of.settings, mesh)
    check_batch(one.of.bucket, 1, mesh)
    assert mesh.size == 16 and one.of.bucket.rows == 16


def test_what_does_not_lie_on_the_torus_is_left_out(steps):
  lies = lambda config: config.fsdp == 4
  found = search.candidates(settings(), CHIP, TORUS, rows=16, lies=lies)
  wanted = [s for s in steps if s.of.settings.mesh.fsdp == 4]
  assert [f.flags for f in found] == [s.flags for s in wanted] != []


def test_rows_are_those_of_each_shard_where_none_are_given():
  found = search.candidates(settings(), CHIP, (2, 1), work.clips_of)
  shards = lambda one: one.of.settings.mesh.data * one.of.settings.mesh.fsdp
  assert {one.of.bucket.rows / shards(one) for one in found} == set(search.ROWS)
  assert len({one.of.settings.transformer.remat for one in found}) == 1


def test_what_remat_saves_in_memory_it_costs_in_time(steps):
  by = {}
  for one in steps:
    key = dataclasses.astuple(one.of.settings.mesh)
    by.setdefault(key, {})[one.of.settings.transformer.remat] = one
  for found in by.values():
    inward = [found[remat] for remat in search.REMATS]
    for more, less in itertools.pairwise(inward):
      assert more.memory.peak > less.memory.peak and more.seconds < less.seconds


def test_a_device_alone_communicates_with_none_and_does_all_the_work(shapes):
  alone = formula(shapes, (1, 1, 1, 1), rows=16)
  assert not communication(alone)
  apart = formula(shapes, (4, 2, 1, 2), rows=16)
  flops = lambda made: sum(w.flops + w.kernel_flops for w in made.work())
  assert flops(alone) == pytest.approx(16 * flops(apart)) == alone.of.flops().total


def test_shards_of_weights_hold_less_than_copies_and_communicate_more(shapes):
  copies, shards = formula(shapes, (16, 1, 1, 1)), formula(shapes, (1, 16, 1, 1))
  assert shards.memory().held['weights'] < 0.07 * copies.memory().held['weights']
  gathered = communication(shards)['all-gather', ('fsdp',)]
  matrices = 2 * 18.9e9  # bytes, in bfloat16
  assert gathered == pytest.approx(2 * matrices, rel=0.05)  # forwards and backwards
  assert set(communication(copies)) == {('all-reduce', ('data',))}


def test_transformers_of_16_bits_take_half_the_room(shapes):
  """2 bytes less for each of the parameters that LTX-2.3 is released with."""
  wide = formula(shapes, (1, 1, 1, 1), make=work.clips_of)
  narrow = dataclasses.replace(wide, weights='bfloat16')
  saved = wide.memory().held['weights'] - narrow.memory().held['weights']
  assert saved == pytest.approx(2 * 18_988_838_144, rel=1e-9)


def test_weights_cut_finer_than_a_tile_are_sent_whole(shapes):
  """4,096 channels over 64 leave 64 of 128 to each; over 16 both streams have whole tiles."""
  fine, coarse = (
    communication(formula(shapes, (1, 64, 1, 1))),
    communication(formula(shapes, (4, 16, 1, 1))),
  )
  whole, gathered = ('all-reduce', ('fsdp',)), ('all-gather', ('fsdp',))
  assert gathered not in fine and whole not in coarse
  rest = coarse['all-reduce', ('data', 'fsdp')]  # of weights that every device has whole
  assert fine[whole] == pytest.approx(coarse[gathered] + rest)


@pytest.mark.parametrize('split, kind', [('swap', 'all-to-all'), ('gather', 'all-gather')])
def test_split_tokens_are_sent_as_attention_splits_them(shapes, split, kind):
  own = dataclasses.replace(settings().transformer.attention, split=split)
  assert (kind, ('context',)) in communication(formula(shapes, (1, 4, 4, 1), attention=own))
  assert not any('context' in axes for _, axes in communication(formula(shapes, (4, 4, 1, 1))))


def planned(one: search.Candidate, seconds: float, peak: float) -> Plan:
  spent = dataclasses.replace(one.estimate, matmuls=seconds, kernels=0.0, memory=0.0, exposed=0.0)
  compiled = Compiled(Memory({}, peak), None, {}, 1.0, 1, 0)
  return Plan('big', PLACE.topology, CHIP, 16, one.of, compiled, spent, Assumptions())


def test_the_best_few_are_told_and_which_of_them_were_compiled(steps):
  fitting = [one for one in steps if one.memory.peak <= 95 * GIB]
  tried = [Tried(one) for one in steps]
  assert search_report.best(tried) is None and not search_report.plans(tried)
  at = [steps.index(one) for one in fitting[:3]]
  tried[at[0]] = Tried(fitting[0], planned(fitting[0], 16 * 0.9, 50 * GIB))
  tried[at[1]] = Tried(fitting[1], planned(fitting[1], 16 * 0.7, 60 * GIB))
  tried[at[2]] = Tried(fitting[2], refusal='a step does not fit: it needs much')
  assert search_report.best(tried).candidate is fitting[1]
  assert search_report.plans(tried) == [tried[at[1]].plan]
  said = search_report.text(tried, PLACE).splitlines()
  assert f'{len(steps)} meshes, remat policies and rows divide, {len(fitting)} fit' in said[0]
  assert (
    said[0].endswith('3 compiled') and said[-1] == f'fastest of the compiled: {fitting[1].flags}'
  )
  rows = [line for line in said[4:-2] if line]
  assert len(rows) == search_report.SHOWN
  assert rows[0].endswith('0.7    60.0') and rows[1].endswith('0.9    50.0')
  assert rows[2].endswith('it needs much') and rows[3].endswith(
    f'{fitting[3].memory.peak / GIB:.1f}'
  )


def test_where_nothing_fits_the_least_need_is_told(steps):
  tried = [Tried(one) for one in steps]
  said = search_report.text(tried, plan.Place('big', 'v5e:4x4'))
  least = min(one.memory.peak for one in steps) / GIB
  assert ' 0 fit by formula' in said and f'the least needs {least:.1f} GiB of 16.0' in said


def test_flags_lead_back_to_what_was_found(steps):
  for one in steps[:3]:
    given = dict(flag.split('=') for flag in one.flags.split())
    sizes = [int(given[f'--config.mesh.{axis}']) for axis in sharding.AXES]
    assert MeshConfig(*sizes) == one.of.settings.mesh and int(given['--rows']) == 16
    assert given['--config.transformer.remat'] == one.of.settings.transformer.remat
