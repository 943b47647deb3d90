"""Real film with its own sound, 64×64 at 12 frames/s with 16 kHz: the demo.

  python launch/prepare.py --config=configs/film.py --input=FILMS --output=CLIPS
  python launch/encode.py --config=configs/film.py --input=CLIPS --output=LATENTS
  python launch/train.py --config=configs/film.py --config.data.path=LATENTS --workdir=RUN

Hardware: 2 CPU cores, 3 GiB. Expect: `make demo` prints time and held-out loss; see README.
"""

import pathlib
import runpy

import ml_collections


def get_config() -> ml_collections.ConfigDict:
  c = runpy.run_path(str(pathlib.Path(__file__).with_name('base.py')))['get_config']()
  c.name, c.trained = 'film', 'film'  # --config.trained= fits a linear codec instead
  c.codec.video_channels = 48
  c.data.buckets.clip.rows = 8
  c.optimizer.learning_rate = 1.5e-3
  c.train.steps = 500
  c.train.evaluate_every = 100
  c.train.save_every = 100
  return c
