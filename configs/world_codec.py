"""A learned picture codec for the generated world; a latent covers 4 frames of 32×32 pixels.

  python tools/make_worlds.py --config=configs/worlds.py --out=CLIPS --count=8000
  python launch/train_codec.py --config=configs/world_codec.py --config.data.path=CLIPS \\
    --workdir=CODEC
  python launch/encode.py --config=configs/worlds.py --codec=CODEC/codec --input=CLIPS --output=NEW

Four seconds of 64×64 pixels are 52 latents of 128 channels. Blocks shift channels and mix them, and
Muon moves their matrices.
Hardware: 2 CPU cores, four hours. Expect: 30 dB on held-out clips after 4500 steps; bodies are
where they should be, in their colours, with little of their textures. It made the picture half of
the codec `world`, which comes along, in one hour of two cores with AVX-512, with
--config.train.steps=4500 --config.loss.noise=0.0; the sound half needs no training.
"""

import pathlib
import runpy

import ml_collections


def get_config() -> ml_collections.ConfigDict:
  here = pathlib.Path(__file__)
  worlds = runpy.run_path(str(here.with_name('worlds.py')))['get_config']()
  c = runpy.run_path(str(here.with_name('codec.py')))['get_config']()
  c.name, c.prepare, c.codec = 'world_codec', worlds.prepare, worlds.codec
  c.picture.update(
    stride=c.codec.stride, channels=c.codec.video_channels, widths=(128, 224, 256, 288), blocks=1,
    decoder_blocks=2, chunk=13,
  )  # fmt: skip
  c.data.update(shrinks=(1,), turn=False)  # things fall down
  # A body is small: that it is off by a pixel shows in squares more than in means.
  c.loss.moving = 2.0
  c.optimizer.decay_share = 0.3
  c.train.update(steps=16000, log_every=20, evaluate_every=500, save_every=250, sample_every=1000)
  return c
