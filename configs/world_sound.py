"""A learned codec of the generated world's sound; a latent of 64 channels covers 80 ms.

  python tools/make_worlds.py --config=configs/worlds.py --out=CLIPS --count=8000
  python launch/train_codec.py --config=configs/world_sound.py --config.data.path=CLIPS \\
    --workdir=SOUNDING
  python launch/encode.py --config=configs/worlds.py --codec=world --sound=SOUNDING/codec \\
    --input=CLIPS --output=NEW

Hardware: 2 CPU cores. Expect: not measured yet.
"""

import pathlib
import runpy

import ml_collections


def get_config(kind: str = 'squeeze') -> ml_collections.ConfigDict:
  here = pathlib.Path(__file__)
  worlds = runpy.run_path(str(here.with_name('worlds.py')))['get_config']()
  c = runpy.run_path(str(here.with_name('sound_codec.py')))['get_config'](kind)
  c.name, c.prepare, c.codec = f'world_{c.name}', worlds.prepare, worlds.codec
  c.data.update(size=(64, 64), frames=25)
  c.optimizer.update(learning_rate=1e-3, matrix_rate=0.02, decay_share=0.4, warmup_steps=100)
  c.train.update(steps=4000, log_every=20, evaluate_every=250, save_every=250, sample_every=1000)
  return c
