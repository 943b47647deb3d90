"""A learned picture codec for falling disks; a latent covers 8 frames of 32×32 pixels.

  python tools/make_disks.py --config=configs/disks.py --out=CLIPS
  python launch/train_codec.py --config=configs/disk_codec.py --config.data.path=CLIPS \\
    --workdir=CODEC
  python launch/encode.py --config=configs/disks.py --codec=CODEC/codec --input=CLIPS --output=NEW

Hardware: 2 CPU cores, some hours. Expect: held-out PSNR in CODEC/curves.png; it has not been
trained to its end yet.
"""

import pathlib
import runpy

import ml_collections


def get_config() -> ml_collections.ConfigDict:
  here = pathlib.Path(__file__)
  disks = runpy.run_path(str(here.with_name('disks.py')))['get_config']()
  c = runpy.run_path(str(here.with_name('codec.py')))['get_config']('8x32x32')
  c.name, c.prepare, c.codec = 'disk_codec', disks.prepare, disks.codec
  c.data.shrinks = (1,)
  c.train.update(steps=5000, log_every=50, evaluate_every=250, save_every=250)
  return c
