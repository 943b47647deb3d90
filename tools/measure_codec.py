"""What codecs cost in fidelity, on held-out clips, beside linear ones and beside JPEG or AAC.

  python tools/measure_codec.py --config=configs/film.py --input=CLIPS
  python tools/measure_codec.py --config=configs/film.py --input=CLIPS --codec=CODEC/codec
  python tools/measure_codec.py --config=configs/sounds.py --input=SOUND_CLIPS --half=sound \\
    --codec=SOUNDING/codec

Linear codecs are fitted on training clips; `spectrogram` keeps log-mel spectra and finds waves for
them, so its SNR tells nothing. JPEG and AAC get as many bits as the latents hold with 8 bits a
number; of a JPEG only the coded picture counts, not its headers. With `pip install '.[eval]'`,
--dnsmos adds what DNSMOS thinks of the speech (Reddy et al. 2021).
"""

import dataclasses
import io
import math
from collections.abc import Callable
from fnmatch import fnmatch
from pathlib import Path

import numpy as np
from absl import flags
from ml_collections import config_flags
from PIL import Image

from sorajax import cli
from sorajax.build import frozen
from sorajax.clip import Clip
from sorajax.codec import codec as codec_lib
from sorajax.codec.lapped import LappedCodec, fit_lapped, lapped_geometry
from sorajax.codec.linear import LinearConfig, fit_sound
from sorajax.codec.patches import PatchCodec, fit_patches
from sorajax.codec.pca import DENSE, Pca
from sorajax.data.latents import evenly
from sorajax.data.sources import clip_of, open_source
from sorajax.errors import UserError
from sorajax.evaluate import fidelity
from sorajax.media import reader, writer

_CONFIG = config_flags.DEFINE_config_file('config', None, 'Its codec section is measured.')
_INPUT = flags.DEFINE_string('input', None, 'A folder that launch/prepare.py wrote.')
_CODEC = flags.DEFINE_multi_string('codec', [], 'Folder of a learned codec; may be repeated.')
_HALF = flags.DEFINE_enum('half', 'picture', ['picture', 'sound'], 'Which half is measured.')
_DNSMOS = flags.DEFINE_integer(
  'dnsmos', 0, 'Held-out clips of speech that DNSMOS judges; needs the extra [eval].', lower_bound=0
)
_SPEECH = flags.DEFINE_string('speech', 'speech_*', 'Pattern of the films that speech is cut from.')
flags.mark_flags_as_required(['config', 'input'])

SHARES = (1, 1 / 4, 1 / 8, 1 / 16, 1 / 32, 1 / 64)  # of the channels of a full rank
MULTIPLES = (1, 2, 4)  # of the channels of a learned codec, where patches are large
FEWER_CLIPS = 400  # on which linear codecs of large patches are fitted
MOST_CLIPS = 1000  # of a split
BITS = 8  # a number
FRAMES, MELS = 8, 80  # frames of a spectrogram in a latent, and their bands
SIDE = 256  # pixels, of the picture that tokens a second are counted on
Coded = Callable[[Clip], np.ndarray]


def main() -> None:
  config = frozen(LinearConfig, _CONFIG.value.codec, 'codec')
  train, held = (_clips(split) for split in ('train', 'validation'))
  spoken = _spoken(_DNSMOS.value)
  learned = {path: codec_lib.load(path) for path in _CODEC.value}
  if _HALF.value == 'picture':
    pictures(config, train, held, {name: codec.video for name, codec in learned.items()})
  else:
    halves = {name: codec.audio for name, codec in learned.items()}
    sounds(config, train, held, spoken, halves)


def pictures(config: LinearConfig, train: list[Clip], held: list[Clip], learned: dict) -> None:
  """Prints a row for each picture codec."""
  print(f'| picture codec | latent | channels | compression | tokens/s at {SIDE}×{SIDE} ', end='')
  print('| PSNR | SSIM | flicker |\n|---|---|---|---|---|---|---|---|')
  sizes = {c.geometry.stride: c.geometry.channels for c in learned.values()}
  for stride in dict.fromkeys((config.stride, *sizes)):
    values, own = 3 * math.prod(stride), {sizes.get(stride, config.video_channels)}
    if stride == config.stride:
      own.add(config.video_channels)
    counts, clips = _counts(values, own), train
    if values > DENSE:  # its full rank would take hours
      counts = sorted({m * n for n in own for m in MULTIPLES}, reverse=True)
      clips = [train[i] for i in evenly(len(train), FEWER_CLIPS)]
    full = fit_patches((c.video for c in clips), stride, counts[0], 0.0)
    for channels in counts:
      codec = PatchCodec(
        dataclasses.replace(full.geometry, channels=channels), _first(full.pca, channels)
      )
      _picture_row('linear', codec, held)
  for name, codec in learned.items():
    _picture_row(name, codec, held)
    bits = codec.geometry.channels * BITS / math.prod(codec.geometry.stride)  # a pixel
    _picture_row('JPEG of equal bits', codec, held, lambda c, bits=bits: jpeg(c.video, bits))


def _picture_row(name: str, codec, held: list[Clip], coded: Coded | None = None) -> None:
  coded = coded or (lambda c: codec.decode(codec.encode(c.video)))
  made = [(c.video, coded(c)) for c in held]
  found = [
    np.mean([measure(a, b) for a, b in made])
    for measure in (fidelity.psnr_db, fidelity.ssim, fidelity.flicker)
  ]
  stride, channels = codec.geometry.stride, codec.geometry.channels
  psnr = 'exact' if math.isinf(found[0]) else f'{found[0]:.1f} dB'
  times, tokens = 3 * math.prod(stride) / channels, SIDE**2 * held[0].fps / math.prod(stride)
  print(
    f'| {name} | {"×".join(map(str, stride))} | {channels} | {times:.0f}× | {tokens:.0f} '
    f'| {psnr} | {found[1]:.3f} | {found[2]:.2f} |', flush=True,
  )  # fmt: skip


def sounds(
  config: LinearConfig, train: list[Clip], held: list[Clip], spoken: list[Clip], learned: dict
) -> None:
  """Prints a row for each codec of sound."""
  heard = [c for c in held if c.audio.any()]
  if not heard:
    raise UserError(
      f'all {len(held)} held-out clips of --input={_INPUT.value} are silent; give some with sound'
    )
  rate, channels = heard[0].sample_rate_hz, heard[0].audio.shape[1]
  speech = ' DNSMOS |' if spoken else ''
  print('| sound codec | channels | tokens/s | numbers/s | SNR | log-spectral distance ', end='')
  print(f'| mel distance | STFT distance |{speech}\n|{"---|" * (8 + bool(speech))}')
  values = config.frame_samples * config.group * channels
  geometry = lapped_geometry(rate, channels, config.frame_samples, config.group, values)
  full = fit_lapped([c.audio for c in train], geometry, config.group, 0.0)
  own = {config.audio_channels, *(c.geometry.channels for c in learned.values())}
  for count in _counts(values, own):
    codec = LappedCodec(
      dataclasses.replace(geometry, channels=count),
      full.group,
      full.weight,
      _first(full.pca, count),
    )
    _sound_row('linear', codec, heard, spoken)
  frame = config.frame_samples * config.group // FRAMES
  for count in sorted(own, reverse=True):
    c = dataclasses.replace(
      config, frame_samples=frame, group=FRAMES, mels=MELS, audio_channels=count
    )
    _sound_row('spectrogram', fit_sound([c.audio for c in train], c, rate, channels), heard, spoken)
  for name, codec in learned.items():
    _sound_row(name, codec, heard, spoken)
    bits = codec.geometry.channels * codec.geometry.latents_per_second * BITS
    coded = lambda c, bits=bits: aac(c, bits)
    _sound_row('AAC, asked for 8 bits a number', codec, heard, spoken, coded)
  if spoken:
    print(f'| the sound itself | | | | | | | | {_dnsmos([c.audio for c in spoken], rate):.2f} |')


def _sound_row(
  name: str, codec, held: list[Clip], spoken: list[Clip], coded: Coded | None = None
) -> None:
  coded = coded or (lambda c: codec.decode(codec.encode(c.audio), len(c.audio)))
  rate, made = held[0].sample_rate_hz, [(c.audio, coded(c)) for c in held]
  mels = lambda a, b: fidelity.mel_distance(a, b, rate)
  measures = (
    fidelity.snr_db, fidelity.log_spectral_distance_db, mels, fidelity.stft_distance,
  )  # fmt: skip
  snr, spectral, mel, stft = (np.mean([m(a, b) for a, b in made]) for m in measures)
  tokens, channels = codec.geometry.latents_per_second, codec.geometry.channels
  opinion = f' {_dnsmos([coded(c) for c in spoken], rate):.2f} |' if spoken else ''
  print(
    f'| {name} | {channels} | {tokens:.1f} | {tokens * channels:.0f} | {snr:.1f} dB '
    f'| {spectral:.1f} dB | {mel:.3f} | {stft:.3f} |{opinion}', flush=True,
  )  # fmt: skip


def jpeg(video: np.ndarray, bits: float) -> np.ndarray:
  """Frames through JPEG at the quality whose coded pictures come nearest to `bits` a pixel."""

  def coded(frame: np.ndarray, quality: int) -> tuple[float, np.ndarray]:
    buffer = io.BytesIO()
    Image.fromarray(frame).save(buffer, 'jpeg', quality=quality, optimize=True)
    scan = len(buffer.getvalue()) - buffer.getvalue().rindex(b'\xff\xda')
    return 8 * scan / frame[..., 0].size, np.asarray(Image.open(buffer))

  qualities = range(1, 96, 2)
  rates = [np.mean([coded(f, q)[0] for f in video[::8]]) for q in qualities]
  best = qualities[int(np.argmin(np.abs(np.subtract(rates, bits))))]
  return np.stack([coded(f, best)[1] for f in video])


def aac(clip: Clip, bits: float) -> np.ndarray:
  """A sound through AAC at `bits` a second."""
  black = np.zeros((1, 2, 2, 3), np.uint8)
  data = writer.aac_bytes(dataclasses.replace(clip, video=black), round(bits))
  found = reader.read_sound(data, seconds=len(clip.audio) / clip.sample_rate_hz)
  made = found.audio[: len(clip.audio)]
  return np.pad(made, ((0, len(clip.audio) - len(made)), (0, 0)))


def _dnsmos(sounds_: list[np.ndarray], rate: int) -> float:
  """The mean overall opinion, 1 to 5."""
  try:
    from speechmos import dnsmos
  except ImportError as error:
    raise UserError(f"--dnsmos: {error.name} is missing: pip install '.[eval]'") from error
  heard = (np.clip(s.mean(axis=1), -1, 1) for s in sounds_)
  return float(np.mean([dnsmos.run(s, rate)['ovrl_mos'] for s in heard]))


def _clips(split: str) -> list[Clip]:
  source = open_source(_INPUT.value, split)
  return [clip_of(source[i]) for i in evenly(len(source), MOST_CLIPS)]


def _spoken(most: int) -> list[Clip]:
  """Held-out clips of speech, from all films alike."""
  if not most:
    return []
  source = open_source(_INPUT.value, 'validation')
  found = [i for i, row in enumerate(source.rows) if fnmatch(Path(row.source).name, _SPEECH.value)]
  if not found:
    raise UserError(f'--speech={_SPEECH.value} names no film of {_INPUT.value}; name one')
  return [clip_of(source[found[i]]) for i in evenly(len(found), most)]


def _counts(full: int, own: set[int]) -> list[int]:
  """Channels to try, the given ones among them."""
  tried = {max(int(full * share), 1) for share in SHARES} | {min(n, full) for n in own}
  return sorted(tried, reverse=True)


def _first(pca: Pca, channels: int) -> Pca:
  """The same transform with its first channels alone."""
  kept = {name: getattr(pca, name)[..., :channels] for name in ('basis', 'scale', 'spread')}
  return dataclasses.replace(pca, **kept)


if __name__ == '__main__':
  cli.run(main)
