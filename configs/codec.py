"""A learned picture codec for 64×64 film; a latent covers 4 frames of 16×16 pixels.

  python launch/prepare.py --config=configs/film.py --input=FILMS --output=CLIPS
  python launch/train_codec.py --config=configs/codec.py --config.data.path=CLIPS --workdir=CODEC
  python launch/encode.py --config=configs/film.py --codec=CODEC/codec --input=CLIPS --output=NEW

`configs/codec.py:8x32x32` is one that compresses harder: FRAMESxHEIGHTxWIDTH, powers of 2.
Hardware: 2 CPU cores, some hours. Expect: see README.
"""

import pathlib
import runpy

import ml_collections

CHANNELS = {8: 24, 16: 48, 32: 96}  # of a latent, by the pixels to its side
WIDTHS = (96, 128, 128, 128)  # of the levels, from the pixels inwards


def get_config(stride: str = '4x16x16') -> ml_collections.ConfigDict:
  base = runpy.run_path(str(pathlib.Path(__file__).with_name('base.py')))
  section, base = base['_section'], base['get_config']()
  frames, height, _ = (int(n) for n in stride.split('x'))
  c = ml_collections.ConfigDict()
  c.name = f'codec_{stride}'
  c.prepare, c.codec, c.mesh = base.prepare, base.codec, base.mesh
  c.picture = section(channels=CHANNELS[height], patch=height // 2, stem=WIDTHS[0], factored=True)
  c.picture.encoder, c.picture.decoder = levels(frames, 2)
  c.data = section(path='', rows=8, frames=17, size=(64, 64))
  c.loss = section()
  c.optimizer = section(learning_rate=1e-3, warmup_steps=200, decay_share=0.4, ema=0.998)
  c.train = section(steps=20_000, log_every=50, evaluate_every=500, save_every=500)
  c.train.sample_every = 2000
  return c


def levels(frames: int, side: int) -> tuple[tuple[dict, ...], tuple[dict, ...]]:
  """Levels that halve what is left of both, and their mirror with twice the blocks."""
  found = [{'width': WIDTHS[0], 'blocks': 1, 'stride': (1, 1, 1)}]
  while frames > 1 or side > 1:
    t, y = min(frames, 2), min(side, 2)
    frames, side = frames // t, side // y
    found.append({'width': WIDTHS[len(found)], 'blocks': 1, 'stride': (t, y, y)})
  return tuple(found), tuple({**level, 'blocks': 2} for level in reversed(found))
