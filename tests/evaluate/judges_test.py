"""Judges find truth nearly perfect and see the fault that each of them is for."""

import dataclasses

import numpy as np
import pytest

from sorajax.evaluate import faults
from sorajax.evaluate.judges import judge
from sorajax.evaluate.sync import Agreement, agree, beyond_chance

SCENES = [faults.scene(5, number) for number in range(8)]


def judged(fault):
  others = [*SCENES[1:], SCENES[0]]
  return [judge(fault(asked, other), asked) for asked, other in zip(SCENES, others)]


@pytest.fixture(scope='module')
def true():
  return judged(lambda asked, other: faults.truth(asked))


def mean(verdicts, name: str) -> float:
  return float(np.nanmean([getattr(v, name) for v in verdicts]))


def f1(verdicts) -> float:
  return sum((v.sync for v in verdicts), Agreement()).f1


def joined(verdicts, name: str) -> np.ndarray:
  return np.array([x for v in verdicts for x in getattr(v, name)])


def test_truth_is_nearly_perfect(true):
  assert f1(true) > 0.85 and abs(np.median(joined(true, 'lags_frames'))) < 0.2
  assert abs(np.nanmedian([v.gravity for v in true])) < 0.02
  assert abs(np.median(joined(true, 'restitution'))) < 0.03
  assert mean(true, 'count') > 0.99 and mean(true, 'jumps') == 0
  for name in ('colours', 'shapes', 'materials', 'directions'):
    assert mean(true, name) > 0.85


@pytest.mark.parametrize(
  ('fault', 'name', 'least'),
  [
    ('a body elsewhere from one frame to the next', 'jumps', -0.5),
    ('a body gone for a second', 'count', 0.2),
    ('two bodies swapped', 'jumps', -0.5),
    ('gravity 1.5×', 'gravity', -0.35),
    ('other colours', 'colours', 0.9),
    ('other shapes', 'shapes', 0.6),
    ('other materials', 'materials', 0.5),
    ('left and right mirrored', 'directions', 0.7),
  ],
)
def test_a_fault_moves_its_measure(true, fault, name, least):
  """By at least so much, downwards where it is positive."""
  change = mean(true, name) - mean(judged(faults.FAULTS[fault]), name)
  assert change >= least if least > 0 else change <= least


def test_a_dull_bounce_lowers_restitution(true):
  dull = judged(faults.FAULTS['restitution 0.7×'])
  assert np.median(joined(true, 'restitution')) - np.median(joined(dull, 'restitution')) > 0.1


@pytest.mark.parametrize('frames', [2, 4])
def test_late_sound_is_out_of_step(true, frames):
  assert f1(true) - f1(judged(faults.FAULTS[f'sound {frames} frames late'])) > 0.25


def test_a_frame_late_shows_in_the_lag(true):
  late = judged(faults.FAULTS['sound 1 frame late'])
  lag = np.median(joined(late, 'lags_frames')) - np.median(joined(true, 'lags_frames'))
  assert lag == pytest.approx(1, abs=0.3)


def test_the_sound_of_another_clip_is_chance(true):
  assert f1(true) - f1(judged(faults.FAULTS['sound of another clip'])) > 0.25


def test_a_black_and_silent_clip_is_judged_to_show_nothing():
  whole = faults.truth(SCENES[0])
  empty = dataclasses.replace(whole, video=0 * whole.video, audio=0 * whole.audio)
  verdict = judge(empty, SCENES[0])
  assert verdict.sync == Agreement(0, 0, 0) and verdict.count == 0 == verdict.colours
  assert np.isnan(verdict.gravity) and verdict.shapes == 0


def test_scores_beyond_chance_run_from_chance_to_truth():
  assert beyond_chance(0.5, 0.5, 0.9) == 0 and beyond_chance(0.9, 0.5, 0.9) == 1
  found = agree(np.array([1.0, 2.0, 3.0]), np.array([1.1, 2.5]), 0.2)
  assert (found.matched, found.seen, found.heard) == (1, 3, 2)
  assert found.f1 == pytest.approx(0.4)
