"""White flashes with beeps at random times: does sound land on the frame?

  python tools/make_flashes.py --config=configs/flash.py --out=CLIPS
  python launch/encode.py --config=configs/flash.py --input=CLIPS --output=LATENTS
  python launch/train.py --config=configs/flash.py --config.data.path=LATENTS --workdir=RUN
  python tools/measure_sync.py --checkpoint=RUN

Hardware: 2 CPU cores, some 25 minutes. Expect: precision and recall of 95% or more; see
trainings.md.
"""

import pathlib
import runpy

import ml_collections


def get_config() -> ml_collections.ConfigDict:
  c = runpy.run_path(str(pathlib.Path(__file__).with_name('base.py')))['get_config']()
  c.name = 'flash'
  c.prepare.update(height=16, width=16)
  c.codec.update(stride=(4, 16, 16), video_channels=16, audio_channels=32)
  c.data.buckets.clip.update(rows=32, video=8, audio=28, text=4)
  c.text.update(width=32, depth=1, max_tokens=4)
  for stream in (c.transformer.streams.video, c.transformer.streams.audio):
    stream.update(width=128, heads=4, head_dim=32, hidden=512)
  c.transformer.update(layers=4, cross_heads=4, cross_head_dim=32)
  c.train.update(steps=6000, log_every=100, evaluate_every=1000, save_every=500)
  c.train.tasks.update(
    text_to_clip=0.7, image_to_clip=0.0, extend=0.0, video_to_audio=0.15, audio_to_video=0.15
  )
  c.sample.update(height=16, width=16, steps=50, batch=25)
  c.sample.guidance.update(video=1.0, audio=1.0)
  return c
