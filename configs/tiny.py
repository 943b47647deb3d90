"""The whole walk in seconds, on 16×16 pixels: for tests and for finding one's way.

  python launch/train.py --config=configs/tiny.py --config.data.path=LATENTS --workdir=RUN

Hardware: anything. Expect: nothing to look at.
"""

import pathlib
import runpy

import ml_collections


def get_config() -> ml_collections.ConfigDict:
  c = runpy.run_path(str(pathlib.Path(__file__).with_name('base.py')))['get_config']()
  c.name = 'tiny'
  c.prepare.update(frames=(9, 5), fps=8.0, height=16, width=16, sample_rate_hz=8_000)
  c.prepare.update(validation_fraction=0.3)
  c.codec.update(stride=(2, 8, 8), video_channels=16, frame_samples=80, group=5, audio_channels=16)
  c.data.buckets.clip.update(rows=4, video=20, audio=24, text=16, clips=2)
  c.text.update(width=32, depth=1, max_tokens=16)
  for stream in (c.transformer.streams.video, c.transformer.streams.audio):
    stream.update(width=32, heads=2, head_dim=16, hidden=64)
  c.transformer.update(layers=2, cross_heads=2, cross_head_dim=16)
  c.train.update(steps=12, log_every=1, evaluate_every=6, save_every=4, evaluate_batches=1)
  c.sample.update(seconds=1.0, fps=8.0, height=16, width=16, steps=4)
  return c
