"""The generated world read as any other source."""

import pickle
import sys

import numpy as np
import pytest
from tiny import refused

from sorajax.data.sources import clip_of, open_source
from sorajax.worlds.world import WorldConfig, generate

URI = 'world:40,frames=9,fps=8,height=16,width=24,sample_rate_hz=8000'
CONFIG = WorldConfig(9, 8.0, 16, 24, 8000)


@pytest.mark.parametrize(('split', 'count'), [('train', 40), ('validation', 4), ('novel', 4)])
def test_clips_are_those_that_the_world_makes(split, count):
  source = open_source(URI, split)
  assert len(source) == len(source.rows) == count
  for number in (0, count - 1):
    clip, caption, truth = generate(CONFIG, split, 0, number)
    example, row = source[number], source.rows[number]
    np.testing.assert_array_equal(clip_of(example).video, clip.video)
    np.testing.assert_array_equal(clip_of(example).audio, clip.audio)
    assert (example.caption, example.truth) == (caption, truth.to_json())
    assert (row.frames, row.height, row.width) == clip.video.shape[:3]
    assert row.samples == len(clip.audio) and row.fps == clip.fps


def test_a_source_travels_and_is_another_where_it_differs():
  source = open_source(URI, 'train')
  there = pickle.loads(pickle.dumps(source))
  np.testing.assert_array_equal(there[3].clip.video, source[3].clip.video)
  others = [open_source(URI, 'test'), open_source(URI + ',most=4', 'train')]
  assert there.fingerprint == source.fingerprint
  assert source.fingerprint not in [other.fingerprint for other in others]
  with pytest.raises(IndexError):
    source[40]


@pytest.mark.parametrize(
  ('uri', 'match'),
  [
    ('world:many', "'many' is no number of clips"),
    ('world:0', "'0' is no number of clips"),
    ('world:9,frame=4', "unknown key 'frame'; did you mean frames"),
    ('world:9,fps=fast', "fps is 'fast', which is no number"),
    ('world:9,most=6', 'world:9,most=6: most of the generated world is 6; give 1 to 4'),
  ],
)
def test_what_cannot_be_made_is_refused(uri, match):
  with refused(match):
    open_source(uri, 'train')
  with refused("no split 'dev'"):
    open_source('world:9', 'dev')


def test_a_kind_that_is_unknown_or_lacks_its_package_is_refused(monkeypatch):
  with refused("has no kind 'lake'; it has room, speech"):
    open_source('world:9,kind=lake', 'train')
  monkeypatch.setitem(sys.modules, 'mujoco', None)
  with refused(r"pip install 'sorajax\[mujoco\]'"):
    open_source('world:9,kind=solid', 'train')
