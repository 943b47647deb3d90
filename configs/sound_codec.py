"""A learned codec of 16 kHz sound; a latent of 64 channels covers 80 ms.

  python tools/fetch_sounds.py --out=SOUNDS
  python tools/fetch_film.py --out=SOUNDS
  python launch/prepare.py --config=configs/sounds.py --input=SOUNDS --output=SOUND_CLIPS
  python launch/train_codec.py --config=configs/sound_codec.py --config.data.path=SOUND_CLIPS \\
    --workdir=SOUNDING
  python launch/encode.py --config=configs/film.py --sound=SOUNDING/codec --input=CLIPS --output=NEW

`configs/sound_codec.py:mel` is a mel autoencoder with its vocoder instead, trained side by side,
which makes a sound of the same spectrum rather than of the same samples. It made the sound half of
the codec `film`, which comes along.

Hardware: 2 CPU cores, an hour. Expect: the distance of held-out sounds in SOUNDING/curves.png.
"""

import pathlib
import runpy

import ml_collections


def get_config(kind: str = 'squeeze') -> ml_collections.ConfigDict:
  here = pathlib.Path(__file__)
  base = runpy.run_path(str(here.with_name('sounds.py')))['get_config']()
  c = runpy.run_path(str(here.with_name('codec.py')))['get_config']()
  section = ml_collections.ConfigDict
  del c.picture, c.encoder_of
  c.name, c.prepare, c.codec = 'sound_codec', base.prepare, base.codec
  c.data.update(rows=16, frames=25, size=(32, 32), turn=False, shrinks=(1,))
  c.optimizer.update(decay_share=0.4, fitted_share=1.0)
  c.train.steps, c.loss = 4000, section()
  if kind == 'squeeze':
    sizes = {'channels': 64, 'width': 192, 'hidden': 512, 'blocks': 2, 'fine': 2, 'kernel': 3}
    c.sound = section(sizes)
    return c
  if kind != 'mel':
    raise ValueError(f'there is no sound codec {kind!r}; choose squeeze or mel')
  c.name, c.data.rows, c.data.frames = 'mel_codec', 8, 13
  c.mel_codec = section({
    'mel': {'audio_channels': 1, 'hop_samples': 160, 'mels': 64},
    'autoencoder': {
      'audio_channels': 1, 'mels': 64, 'latent_channels': 8, 'width': 16,
      'multipliers': (1, 2, 4, 4), 'blocks': 1,
    },
    'vocoder': {
      'inputs': 64, 'outputs': 1, 'width': 256, 'hidden': 768, 'blocks': 6, 'kernel': 7,
      'n_fft': 640, 'factor': 160,
    },
  })  # fmt: skip
  c.optimizer.clip_norm = 100.0  # gradients are about 10
  c.loss.update(waveform=0.0, convergence=0.0, spectrogram=1.0, smooth=True)
  return c
