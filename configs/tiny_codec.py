"""A learned picture codec in seconds, on 16×16 pixels: for tests and for finding one's way.

  python launch/train_codec.py --config=configs/tiny_codec.py --config.data.path=CLIPS --workdir=RUN

Hardware: anything. Expect: nothing to look at.
"""

import pathlib
import runpy

import ml_collections


def get_config() -> ml_collections.ConfigDict:
  here = pathlib.Path(__file__)
  c = runpy.run_path(str(here.with_name('codec.py')))['get_config']()
  tiny = runpy.run_path(str(here.with_name('tiny.py')))['get_config']()
  c.name, c.prepare, c.codec = 'tiny_codec', tiny.prepare, tiny.codec
  c.picture.update(channels=tiny.codec.video_channels, patch=4, stem=8)
  c.picture.encoder = tuple(_level(*x) for x in ((8, (1, 1, 1)), (16, (2, 2, 2))))
  c.picture.decoder = c.picture.encoder[::-1]
  c.data.update(rows=2, frames=5, size=(16, 16))
  c.train.update(steps=6, log_every=1, evaluate_every=3, save_every=2, sample_every=0)
  return c


def _level(width: int, stride: tuple[int, int, int]) -> dict:
  return {'width': width, 'blocks': 0, 'stride': stride}
