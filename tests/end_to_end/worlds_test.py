"""The generated world as a data set: what is stored is what was generated, and true."""

import numpy as np
from programs import run

from sorajax.data.sources import clip_of, open_source
from sorajax.worlds.truth import Truth
from sorajax.worlds.world import WorldConfig, generate


def test_clips_are_stored_with_their_captions_and_their_truth(tmp_path):
  flags = ['--config=configs/tiny.py', '--count=10', '--seed=3']
  run('tools/make_worlds.py', *flags, f'--out={tmp_path}/world')
  assert (tmp_path / 'world/clips.png').is_file()
  config = WorldConfig(9, 8.0, 16, 16, 8000, 1)
  for split, count in (('train', 10), ('validation', 1)):
    source = open_source(tmp_path / 'world', split)
    assert len(source) == count
    for number in range(count):
      clip, caption, truth = generate(config, split, 3, number)
      example = source[number]
      assert example.caption == caption
      assert Truth.from_json(example.truth) == truth
      stored = clip_of(example)
      assert stored.video.shape == clip.video.shape
      assert np.abs(stored.video.astype(int) - clip.video).mean() < 12  # H.264
