"""A learned picture codec for the generated world; a latent covers 8 frames of 32×32 pixels.

  python tools/make_worlds.py --config=configs/worlds.py --out=CLIPS
  python launch/train_codec.py --config=configs/world_codec.py --config.data.path=CLIPS \\
    --workdir=CODEC
  python launch/encode.py --config=configs/worlds.py --codec=CODEC/codec --input=CLIPS --output=NEW

Hardware: 2 CPU cores, some hours. Expect: held-out PSNR in CODEC/curves.png; it has not been
trained to its end yet (from 24.1 dB, the linear codec's, to 24.3 after 750 steps).
"""

import pathlib
import runpy

import ml_collections


def get_config() -> ml_collections.ConfigDict:
  here = pathlib.Path(__file__)
  worlds = runpy.run_path(str(here.with_name('worlds.py')))['get_config']()
  c = runpy.run_path(str(here.with_name('codec.py')))['get_config']('8x32x32')
  c.name, c.prepare, c.codec = 'world_codec', worlds.prepare, worlds.codec
  c.data.shrinks = (1,)
  c.loss.squared = 4.0  # a body is small: being off by a pixel hardly shows in mean differences
  c.train.update(steps=4000, log_every=50, evaluate_every=250, save_every=250)
  return c
