"""Judges find truth nearly perfect and see the fault that each of them is for."""

import dataclasses

import numpy as np
import pytest

from sorajax.evaluate import benchmark, faults
from sorajax.evaluate.judges import judge, summary
from sorajax.evaluate.sync import Agreement, agree, beyond_chance
from sorajax.worlds.scene import COLOURS

SCENES = [benchmark.prompt('test', n, 5, fewest=2).scene for n in range(10)]


def judged(fault):
  others = [*SCENES[1:], SCENES[0]]
  return [judge(fault(asked, other), asked) for asked, other in zip(SCENES, others)]


@pytest.fixture(scope='module')
def true():
  return judged(lambda asked, other: benchmark.shown(asked))


def lag(verdicts) -> float:
  """The median of sound after picture, in frames, with its sign."""
  return float(np.median([x for v in verdicts for x in v.lags_frames]))


def test_truth_is_nearly_perfect(true):
  found = summary(true)
  assert found.sync > 0.85 and abs(lag(true)) < 0.2 and found.lag_frames < 0.3
  assert abs(found.gravity) < 0.02 and abs(found.restitution) < 0.03
  assert found.residual * 64 < 0.3 and found.steady == found.falls == 1
  for name in ('count', 'colours', 'shapes', 'materials', 'directions', 'events'):
    assert getattr(found, name) > 0.9


@pytest.mark.parametrize(
  ('fault', 'name', 'least'),
  [
    ('a body elsewhere from one frame to the next', 'steady', 0.5),
    ('a body gone for a second', 'count', 0.2),
    ('two bodies swapped', 'steady', 0.5),
    ('gravity 1.5×', 'gravity', -0.4),
    ('restitution 0.7×', 'restitution', 0.1),
    ('sound 1 frame late', 'lag_frames', -0.5),
    ('sound 2 frames late', 'sync', 0.25),
    ('sound 4 frames late', 'sync', 0.25),
    ('sound of another clip', 'sync', 0.25),
    ('other colours', 'colours', 0.9),
    ('other shapes', 'shapes', 0.6),
    ('other materials', 'materials', 0.5),
    ('left and right mirrored', 'directions', 0.7),
    ('two bodies exchanged from the start', 'events', 0.4),
  ],
)
def test_a_fault_moves_its_measure(true, fault, name, least):
  """By at least so much, downwards where it is positive."""
  change = getattr(summary(true), name) - getattr(summary(judged(faults.FAULTS[fault])), name)
  assert change >= least if least > 0 else change <= least


def test_a_frame_late_is_heard_a_frame_late(true):
  assert lag(judged(faults.FAULTS['sound 1 frame late'])) - lag(true) == pytest.approx(1, abs=0.3)


def test_a_black_and_silent_clip_is_judged_to_show_nothing():
  whole = benchmark.shown(SCENES[0])
  empty = dataclasses.replace(whole, video=0 * whole.video, audio=0 * whole.audio)
  verdict = judge(empty, SCENES[0])
  assert verdict.sync == Agreement(0, 0, 0) and verdict.count == 0 == verdict.colours
  assert np.isnan(verdict.gravity) and verdict.shapes == 0


def test_a_body_or_a_patch_of_one_frame_is_not_shown():
  asked, whole = SCENES[0], benchmark.shown(SCENES[0])
  once = np.zeros_like(whole.video)
  once[30] = whole.video[30]
  verdict = judge(dataclasses.replace(whole, video=once), asked)
  assert verdict.colours == 0 == verdict.shapes
  stray = whole.video.copy()
  own = {body.colour for body in asked.bodies}
  stray[30, 5:12, 5:12] = next(paint for name, paint in COLOURS.items() if name not in own)
  assert judge(dataclasses.replace(whole, video=stray), asked).colours == 1


def test_gravity_says_in_how_many_clips_something_falls(true):
  whole = benchmark.shown(SCENES[0])
  still = dataclasses.replace(whole, video=whole.video[:1].repeat(benchmark.FRAMES, axis=0))
  found = summary([*true[1:], judge(still, SCENES[0])])
  assert found.falls == pytest.approx(0.9) and abs(found.gravity) < 0.02


def test_scores_beyond_chance_run_from_chance_to_truth():
  assert beyond_chance(0.5, 0.5, 0.9) == 0 and beyond_chance(0.9, 0.5, 0.9) == 1
  found = agree(np.array([1.0, 2.0, 3.0]), np.array([1.1, 2.5]), 0.2)
  assert (found.matched, found.seen, found.heard) == (1, 3, 2)
  assert found.f1 == pytest.approx(0.4)
