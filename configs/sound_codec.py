"""A learned codec of 16 kHz sound; a latent of 64 channels covers 80 ms.

  python tools/fetch_sounds.py --out=SOUNDS
  python tools/fetch_film.py --out=SOUNDS
  python launch/prepare.py --config=configs/sounds.py --input=SOUNDS --output=SOUND_CLIPS
  python launch/train_codec.py --config=configs/sound_codec.py --config.data.path=SOUND_CLIPS \\
    --workdir=SOUNDING
  python launch/encode.py --config=configs/film.py --sound=SOUNDING/codec --input=CLIPS --output=NEW

Hardware: 2 CPU cores, some hours. Expect: the distance of held-out sounds in SOUNDING/curves.png.
"""

import pathlib
import runpy

import ml_collections


def get_config() -> ml_collections.ConfigDict:
  here = pathlib.Path(__file__)
  base = runpy.run_path(str(here.with_name('sounds.py')))['get_config']()
  c = runpy.run_path(str(here.with_name('codec.py')))['get_config']()
  del c.picture
  c.name, c.prepare, c.codec = 'sound_codec', base.prepare, base.codec
  sizes = {'channels': 64, 'width': 192, 'hidden': 512, 'blocks': 2, 'fine': 2, 'kernel': 3}
  c.sound = ml_collections.ConfigDict(sizes)
  c.data.update(rows=16, frames=25, size=(32, 32), turn=False, shrinks=(1,))
  c.optimizer.decay_share, c.train.steps = 0.4, 4000
  c.loss = ml_collections.ConfigDict()
  return c
