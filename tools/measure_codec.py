"""What the linear codec costs in fidelity, by tokens and channels kept, on held-out film.

  python tools/measure_codec.py --config=configs/film.py --input=CLIPS

Fits on the training clips at full rank, keeps the first channels, and codes the validation clips.
"""

import dataclasses
import math

import numpy as np
from absl import flags
from ml_collections import config_flags

from sorajax import build, cli
from sorajax.clip import Clip
from sorajax.codec.lapped import fit_lapped, lapped_geometry
from sorajax.codec.patches import fit_patches
from sorajax.codec.pca import Pca
from sorajax.data.latents import clip_of
from sorajax.data.sources import open_source
from sorajax.evaluate.fidelity import log_spectral_distance_db, psnr_db, snr_db

_CONFIG = config_flags.DEFINE_config_file('config', None, 'Its codec section is measured.')
_INPUT = flags.DEFINE_string('input', None, 'A folder that launch/prepare.py wrote.')
flags.mark_flags_as_required(['config', 'input'])

STRIDES = ((4, 16, 16), (4, 8, 8))
SHARES = (1, 1 / 4, 1 / 8, 1 / 16, 1 / 32, 1 / 64)  # of the channels of a full rank


def main() -> None:
  config = build.settings(_CONFIG.value).codec
  train, held = (_clips(split) for split in ('train', 'validation'))
  print('| picture patch | channels | tokens/s | numbers/s | PSNR |\n|---|---|---|---|---|')
  for stride in dict.fromkeys((config.stride, *STRIDES)):
    full = fit_patches((c.video for c in train), stride, 3 * math.prod(stride), 0.0)
    for channels in _counts(len(full.pca.mean), config.video_channels):
      codec = dataclasses.replace(full, pca=_first(full.pca, channels))
      error = np.mean([psnr_db(c.video, codec.decode(codec.encode(c.video))) for c in held])
      c = held[0]
      rate = c.video.shape[1] * c.video.shape[2] * c.fps / math.prod(stride)
      name = '×'.join(map(str, stride))
      print(f'| {name} | {channels} | {rate:.0f} | {rate * channels:.0f} | {error:.1f} dB |')
  rate_hz, sounds = held[0].sample_rate_hz, held[0].audio.shape[1]
  values = config.frame_samples * config.group * sounds
  geometry = lapped_geometry(rate_hz, sounds, config.frame_samples, config.group, values)
  full = fit_lapped([c.audio for c in train], geometry, config.group, 0.0)
  print('\n| sound channels | tokens/s | numbers/s | SNR | log-spectral distance |')
  print('|---|---|---|---|---|')
  for channels in _counts(values, config.audio_channels):
    codec = dataclasses.replace(full, pca=_first(full.pca, channels))
    pairs = [(c.audio, codec.decode(codec.encode(c.audio), len(c.audio))) for c in held]
    snr = np.mean([snr_db(a, b) for a, b in pairs])
    distance = np.mean([log_spectral_distance_db(a, b) for a, b in pairs])
    rate = geometry.latents_per_second
    print(f'| {channels} | {rate:.1f} | {rate * channels:.0f} | {snr:.1f} dB | {distance:.1f} dB |')


def _clips(split: str) -> list[Clip]:
  source = open_source(_INPUT.value, split)
  return [clip_of(source[i]) for i in range(len(source))]


def _counts(full: int, own: int) -> list[int]:
  """Channels to try, the config's own among them."""
  return sorted({max(int(full * share), 1) for share in SHARES} | {min(own, full)}, reverse=True)


def _first(pca: Pca, channels: int) -> Pca:
  """The same transform with its first channels alone."""
  kept = {name: getattr(pca, name)[..., :channels] for name in ('basis', 'scale', 'spread')}
  return dataclasses.replace(pca, **kept)


if __name__ == '__main__':
  cli.run(main)
