"""What the picture of falling disks shows and what is heard agree."""

import runpy

import numpy as np
import pytest
from programs import ROOT

from sorajax import build

DISKS = runpy.run_path(str(ROOT / 'tools' / 'make_disks.py'), run_name='make_disks')
CONFIG = build.settings(runpy.run_path(str(ROOT / 'configs' / 'disks.py'))['get_config']()).prepare


def made(seed: int):
  return DISKS['make_clip'](np.random.default_rng(seed), CONFIG)


def test_a_seed_gives_the_same_bytes_and_another_seed_others():
  (a, said), (b, again), (other, _) = made(0), made(0), made(1)
  assert said == again
  np.testing.assert_array_equal(a.video, b.video)
  np.testing.assert_array_equal(a.audio, b.audio)
  assert (a.video != other.video).any() and (a.audio != other.audio).any()


@pytest.mark.parametrize('seed', range(3))
def test_a_disk_moves_on_as_it_did_unless_a_knock_is_heard(seed, monkeypatch):
  """Between knocks a disk is in free fall, so its second differences are gravity's."""
  seen = []
  painted = DISKS['_painted']

  def watched(background, place, radii, colours):
    seen.append(place.copy())
    return painted(background, place, radii, colours)

  monkeypatch.setitem(DISKS['make_clip'].__globals__, '_painted', watched)
  clip, _ = made(seed)
  places = np.stack(seen)  # [F, disks, 2]
  bend = np.abs(np.diff(places, 2, axis=0) - [0, DISKS['GRAVITY'] / CONFIG.fps**2]).max(axis=(1, 2))
  turned = np.flatnonzero(bend > 0.02)  # between frames t and t + 2
  hop = round(CONFIG.sample_rate_hz / CONFIG.fps)
  loud = [np.abs(clip.audio[t * hop : (t + 2) * hop]).max() > 0.02 for t in turned]
  assert len(turned) and all(loud)
