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
  c.picture.update(stride=(2, 8, 8), channels=16, widths=(8, 16), blocks=0)
  c.data.update(rows=2, frames=5, size=(16, 16))
  c.train.update(steps=6, log_every=1, evaluate_every=3, save_every=2, sample_every=0)
  return c
