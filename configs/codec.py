"""A learned picture codec for 64×64 film; a latent covers 4 frames of 16×16 pixels.

  python launch/prepare.py --config=configs/codec.py --input=FILMS --output=LARGE
  python launch/train_codec.py --config=configs/codec.py --config.data.path=LARGE --workdir=CODEC
  python launch/encode.py --config=configs/film.py --codec=CODEC/codec --input=CLIPS --output=NEW

`configs/codec.py:8x32x32` compresses harder; those that SIZES names are known. Blocks shift
channels and mix them, and Muon moves their matrices.
Noise on the latents, half as large as they, costs the codec 0.4 dB and gives a transformer more.
Hardware: 2 CPU cores, an hour. Expect: held-out PSNR in CODEC/curves.png, and pictures beside what
becomes of them in CODEC/reconstructions.png. It made the picture half of the codec `film`, which
comes along; `configs/sound_codec.py:mel` made the other.
"""

import pathlib
import runpy

import ml_collections

SIZES = {  # FRAMESxHEIGHTxWIDTH of a latent: its channels, the patch, the width at every size
  '4x8x8': (24, 4, (96, 192, 288)),
  '4x16x16': (48, 8, (128, 288, 448)),
  '8x16x16': (48, 8, (128, 224, 288, 448)),
  '8x32x32': (64, 8, (128, 224, 288, 448)),
}


def get_config(size: str = '4x16x16') -> ml_collections.ConfigDict:
  base = runpy.run_path(str(pathlib.Path(__file__).with_name('base.py')))
  section, base = base['_section'], base['get_config']()
  channels, patch, widths = SIZES[size]
  c = ml_collections.ConfigDict()
  c.name, c.start, c.encoder_of = f'codec_{size}', '', ''
  c.prepare, c.codec, c.mesh = base.prepare, base.codec, base.mesh
  stride = tuple(int(n) for n in size.split('x'))
  c.picture = section(
    stride=stride, channels=channels, widths=widths, blocks=2, decoder_blocks=3,
    decoder_widths=(), patch=patch, factored=True, shift=2, straight=False, join=1, chunk=4,
  )  # fmt: skip
  with c.prepare.unlocked():
    c.prepare.update(frames=(33,), fps=24.0, height=128, width=128, keep_silent=True)
  c.data = section(path='', rows=8, frames=17, size=(64, 64), turn=True, shrinks=(1, 2, 2))
  c.loss = section(
    absolute=1.0, squared=4.0, pyramid=1.0, edges=0.25, flicker=0.25, moving=1.0, noise=0.5,
    divergence=1e-4, roughness=0.0,
  )  # fmt: skip
  c.optimizer = section(
    learning_rate=1e-3, matrix_rate=0.02, matmul_precision='default', warmup_steps=100,
    decay_share=0.4, ema=0.998, fitted_share=0.01,
  )  # fmt: skip
  c.train = section(steps=4200, log_every=50, evaluate_every=500, save_every=250)
  c.train.sample_every = 2000
  return c
