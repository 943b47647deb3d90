"""Eight clips of film, learned by heart: the check that everything is wired right.

  python launch/encode.py --config=configs/overfit.py --input=CLIPS --output=LATENTS
  python launch/train.py --config=configs/overfit.py --config.data.path=LATENTS --workdir=RUN
  python tools/measure_overfit.py --checkpoint=RUN --clips=CLIPS

Hardware: 2 CPU cores. Expect: samples from the captions match their clips; see trainings.md.
"""

import pathlib
import runpy

import ml_collections


def get_config() -> ml_collections.ConfigDict:
  c = runpy.run_path(str(pathlib.Path(__file__).with_name('base.py')))['get_config']()
  c.name = 'overfit'
  c.codec.update(video_channels=192)
  c.data.update(limit=8, caption_dropout=0.0)
  c.data.buckets.clip.rows = 8
  c.transformer.streams.video.update(width=192, heads=4, head_dim=48, hidden=768)
  c.transformer.streams.audio.update(width=128, heads=4, head_dim=32, hidden=512)
  c.transformer.layers = 4
  c.optimizer.update(ema=0.99)
  c.train.update(steps=2000, log_every=50, evaluate_every=0, save_every=200)
  c.train.tasks.update(image_to_clip=0.0, extend=0.0, video_to_audio=0.0, audio_to_video=0.0)
  c.flow.update(together=1.0)
  c.sample.update(steps=50, batch=8)
  c.sample.guidance.update(video=1.0, audio=1.0)
  return c
