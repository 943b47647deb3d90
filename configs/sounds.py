"""Clips of speech and sound effects, with still pictures: to train codecs of sound on.

  python tools/fetch_sounds.py --out=SOUNDS
  python launch/prepare.py --config=configs/sounds.py --input=SOUNDS --output=SOUND_CLIPS

Hardware: 2 CPU cores. Expect: about an hour of sound.
"""

import pathlib
import runpy

import ml_collections


def get_config() -> ml_collections.ConfigDict:
  c = runpy.run_path(str(pathlib.Path(__file__).with_name('base.py')))['get_config']()
  c.name = 'sounds'
  still = {'height': 32, 'width': 32, 'frozen_below': -1.0, 'black_below': -1.0}
  with c.prepare.unlocked():
    c.prepare.update(still)
  return c
