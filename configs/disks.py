"""Disks that fall and bounce with a knock, 64×64: what a small model can learn of motion.

  python tools/make_disks.py --config=configs/disks.py --out=CLIPS
  python launch/encode.py --config=configs/disks.py --codec=CODEC/codec --input=CLIPS \\
    --output=LATENTS
  python launch/train.py --config=configs/disks.py --config.data.path=LATENTS --workdir=RUN

Four seconds are 28 tokens of picture, by the codec that configs/disk_codec.py trains; a linear one
of patches so large does not fit into memory. Hardware: 2 CPU cores. Expect: not measured yet.
"""

import pathlib
import runpy

import ml_collections


def get_config() -> ml_collections.ConfigDict:
  c = runpy.run_path(str(pathlib.Path(__file__).with_name('base.py')))['get_config']()
  c.name = 'disks'
  c.prepare.frames = (49,)
  c.codec.update(stride=(8, 32, 32), video_channels=64)
  c.data.buckets.clip.update(rows=32, video=28, audio=52, text=32)
  c.text.max_tokens = 32
  c.train.steps = 1000
  c.sample.seconds = 4.0
  return c
