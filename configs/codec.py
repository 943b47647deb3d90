"""A learned picture codec for 64×64 film; a latent covers 4 frames of 16×16 pixels.

  python launch/prepare.py --config=configs/codec.py --input=FILMS --output=LARGE
  python launch/train_codec.py --config=configs/codec.py --config.data.path=LARGE --workdir=CODEC
  python launch/encode.py --config=configs/film.py --codec=CODEC/codec --input=CLIPS --output=NEW

`configs/codec.py:8x32x32` compresses harder; those that SIZES names are known.
Hardware: 2 CPU cores, some hours. Expect: held-out PSNR in CODEC/curves.png, and pictures beside
what becomes of them in CODEC/reconstructions.png. The codec `film` that comes along was made with
--config.loss.noise=0.5, which swelled its latents, and --config.optimizer.fitted_share=1, at which
it forgot at first what it began with.
"""

import pathlib
import runpy

import ml_collections

SIZES = {  # FRAMESxHEIGHTxWIDTH of a latent: its channels, the patch, the width at every size
  '4x8x8': (24, 4, (48, 96, 96)),
  '4x16x16': (48, 8, (64, 128, 128)),
  '8x16x16': (48, 8, (48, 48, 96, 96)),
  '8x32x32': (64, 4, (32, 64, 128, 256)),
}


def get_config(size: str = '4x16x16') -> ml_collections.ConfigDict:
  base = runpy.run_path(str(pathlib.Path(__file__).with_name('base.py')))
  section, base = base['_section'], base['get_config']()
  channels, patch, widths = SIZES[size]
  c = ml_collections.ConfigDict()
  c.name, c.start = f'codec_{size}', ''
  c.prepare, c.codec, c.mesh = base.prepare, base.codec, base.mesh
  stride = tuple(int(n) for n in size.split('x'))
  c.picture = section(
    stride=stride, channels=channels, widths=widths, blocks=1, decoder_blocks=0, patch=patch,
    factored=True, shift=0, straight=True, chunk=4,
  )  # fmt: skip
  with c.prepare.unlocked():
    c.prepare.update(frames=(33,), fps=24.0, height=128, width=128, keep_silent=True)
  c.data = section(path='', rows=8, frames=17, size=(64, 64), turn=True, shrinks=(1, 2, 2))
  c.loss = section(
    absolute=1.0, squared=0.0, pyramid=1.0, edges=0.5, flicker=0.5, moving=0.0, noise=0.0,
    divergence=1e-4,
  )  # fmt: skip
  c.optimizer = section(
    learning_rate=1e-3, matrix_rate=0.0, warmup_steps=200, decay_share=0.6, ema=0.998,
    fitted_share=0.01,
  )  # fmt: skip
  c.train = section(steps=3000, log_every=50, evaluate_every=500, save_every=500)
  c.train.sample_every = 2000
  return c
