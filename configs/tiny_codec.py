"""Learned codecs in seconds, on 16×16 pixels: for tests and for finding one's way.

  python launch/train_codec.py --config=configs/tiny_codec.py --config.data.path=CLIPS --workdir=RUN

`configs/tiny_codec.py:sound` and `configs/tiny_codec.py:mel` are those of sound.
Hardware: anything. Expect: nothing to look at.
"""

import pathlib
import runpy

import ml_collections


def get_config(half: str = 'picture') -> ml_collections.ConfigDict:
  here = pathlib.Path(__file__)
  name, *kind = {
    'picture': ['codec.py'], 'sound': ['sound_codec.py'], 'mel': ['sound_codec.py', 'mel'],
  }[half]  # fmt: skip
  c = runpy.run_path(str(here.with_name(name)))['get_config'](*kind)
  tiny = runpy.run_path(str(here.with_name('tiny.py')))['get_config']()
  c.name, c.prepare, c.codec = f'tiny_{half}_codec', tiny.prepare, tiny.codec
  c.data.update(rows=2, frames=5, size=(16, 16), shrinks=(1,))
  c.train.update(steps=6, log_every=1, evaluate_every=3, save_every=2, sample_every=0)
  if half == 'picture':
    c.picture.update(
      stride=(2, 8, 8), channels=16, widths=(8, 16), blocks=0, decoder_blocks=0, shift=0,
      straight=True,
    )  # fmt: skip
    c.optimizer.matrix_rate = 0.0
  elif half == 'mel':
    m = c.mel_codec
    with m.unlocked():
      m.mel.update(sample_rate_hz=c.prepare.sample_rate_hz, n_fft=256, hop_samples=80, mels=16)
    m.autoencoder.update(mels=16, latent_channels=2, width=4, multipliers=(1, 2))
    m.vocoder.update(inputs=16, width=8, hidden=16, blocks=2, kernel=3, n_fft=320, factor=80)
  else:
    rates = {'sample_rate_hz': c.prepare.sample_rate_hz, 'frame_samples': c.codec.frame_samples}
    sizes = {'channels': 16, 'width': 8, 'hidden': 8, 'blocks': 1, 'fine': 1}
    with c.sound.unlocked():
      c.sound.update(**rates, **sizes, group=c.codec.group)
  return c
