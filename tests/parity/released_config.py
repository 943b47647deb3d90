"""A config of the small LTX-2 in the folder that the environment's LTX2 names."""

import dataclasses
import os
import runpy
from pathlib import Path

import ml_collections

from sorajax.generate import released

CONFIGS = Path(__file__).parents[2] / 'configs'


def get_config() -> ml_collections.ConfigDict:
  folder = os.environ['LTX2']
  settings, codec = released.read(Path(folder))
  c = runpy.run_path(str(CONFIGS / 'tiny.py'))['get_config']()
  c.prepare.update(frames=(9,), height=32, width=64, sample_rate_hz=16_000, audio_channels=2)
  c.codec.update(
    stride=codec.geometry.video.stride, video_channels=codec.geometry.video.channels,
    audio_channels=codec.geometry.audio.channels,
  )  # fmt: skip
  c.data.buckets.clip.update(rows=2, video=160, audio=30, text=128, clips=1)
  c.transformer = ml_collections.ConfigDict(dataclasses.asdict(settings.transformer))
  width = settings.text.width
  c.text.update(
    kind='ltx2', folder=folder, dtype='float32', width=width, max_tokens=128, encoded=''
  )
  c.flow.preconditioned = False
  c.start = folder
  c.lora.update(rank=4, targets='(attention/(query|key|value|out)|mlp/(up|down)/kernel)$')
  c.optimizer.update(learning_rate=3e-3, warmup_steps=10)
  c.train.update(steps=60, evaluate_every=30, evaluate_batches=2, save_every=60)
  return c
