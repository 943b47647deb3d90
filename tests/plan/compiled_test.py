"""What the planner says by formula beside what compiled programs do, on eight devices."""

import json
import math
from pathlib import Path

import pytest
import tiny
from programs import run

pytestmark = pytest.mark.long  # one program compiles for minutes

SIZE = 8 * 16 * 4  # bytes of the array that devices communication about
TURNS, ROWS, WIDTH = 7, 32, 64
FEW = 1024  # bytes of losses and norms that are summed


@pytest.fixture(scope='module')
def found() -> dict:
  return json.loads(run(str(Path(__file__).with_name('on_devices.py'))))


@pytest.mark.parametrize(
  'kind, axes, group, made, sent',
  [
    ('all-gather', ['tensor'], 2, 2 * SIZE, SIZE),
    ('all-reduce', ['fsdp', 'context'], 4, SIZE, 2 * 3 / 4 * SIZE),
    ('reduce-scatter', ['fsdp'], 2, SIZE / 2, SIZE / 2),
    ('all-to-all', ['context'], 2, SIZE, SIZE / 2),
    ('collective-permute', ['tensor'], 2, SIZE, SIZE),
  ],
)
def test_communication_between_devices_is_found_in_a_loop(found, kind, axes, group, made, sent):
  (one,) = found['communication'][kind]
  assert one['kind'] == kind and sorted(one['axes']) == sorted(axes) and one['group'] == group
  assert (one['bytes'], one['sent'], one['times']) == (made, sent, TURNS)


def test_products_of_a_loop_are_counted_as_often_as_it_turns(found):
  """Forwards, and twice backwards."""
  assert found['flops'] == 3 * TURNS * 2 * ROWS * WIDTH * WIDTH


def test_the_formula_counts_the_products_that_a_program_does(found):
  """Of four kinds of transformers, with noise levels of clips and packed rows."""
  assert len(found['forwards']) == 4
  for made in found['forwards']:
    assert made['program'] == pytest.approx(made['formula'], rel=1e-9)


def test_remat_computes_again_what_it_says(found):
  """`dots` no product, `narrow` those that widen, by formula to the last; the others all.

  `attention` computes no attention again that goes head by head, as all does here.
  """
  by = found['recomputed']
  assert by['dots'] == by['none'] and by['narrow'] == by['dots'] + by['wide']
  assert by['full'] == by['offload'] == by['attention'] + by['heard']
  assert by['attention'] > by['narrow']


def test_each_device_draws_the_noise_of_its_own_rows(found):
  sizes = [math.prod(shape) for shape in found['noise']]
  assert sizes and max(sizes) <= ROWS // 8 * 12 * tiny.CHANNELS['video']


def test_the_formula_counts_what_weights_and_tokens_ask_to_be_sent(found):
  """To the byte, where weights are split, for every kind and axes, but for losses and norms."""
  kinds = set()
  for made in found['said']:
    program, formula = made['program'], made['formula']
    kinds |= {key.split()[0] for key in program}
    for key in {*program, *formula}:
      extra = program.get(key, 0.0) - formula.get(key, 0.0)
      assert 0 <= extra < FEW if key.startswith('all-reduce') else extra == 0, key
  assert kinds == {'all-gather', 'all-reduce', 'all-to-all', 'reduce-scatter'}


def test_each_layer_adds_its_formula_to_a_run_of_sampling(found):
  """With guidance of every kind, and with none; outside the layers, passes share what is equal."""
  assert len(found['sampling']) == 2
  for few, more in found['sampling']:
    added = more['program'] - few['program']
    assert added == pytest.approx(more['layers'] - few['layers'], rel=1e-9)
    for made in (few, more):
      assert made['layers'] <= made['program'] <= made['formula'] * (1 + 1e-9)


def test_what_a_device_holds_by_formula_is_what_lies_there(found):
  assert [formula for formula, _ in found['held']] == [laid for _, laid in found['held']]
  assert len({laid for _, laid in found['held']}) == 3


def test_what_low_rank_changes_hold_is_told_by_formula(found):
  """All weights, of which LTX-2's are of 16 bits, and three times the changes."""
  for one in found['changed']:
    assert one['formula'] == one['laid']
    assert one['laid']['moving average'] < 0.3 * one['laid']['weights']
  whole, halved = (one['laid']['weights'] for one in found['changed'][:2])
  assert halved < 0.7 * whole


def test_what_is_planned_is_what_decodes(found):
  """To the letter, and as many matmuls; devices share rows if those divide, or work alike."""
  for made, alike in zip(found['decoded'], (1, 4, 8), strict=True):
    run, planned = made['same']
    assert len(run) > 10_000 and planned == run
    assert made['program'] == alike * made['formula']


def test_what_is_planned_is_what_sampling_runs(found):
  """The same lowered program, to the letter, on a mesh of every axis but one."""
  for sampled, planned in found['same']:
    assert len(sampled) > 10_000 and planned == sampled
