"""Makes clips of white flashes with beeps at random times, as launch/prepare.py would write them.

  python tools/make_flashes.py --config=configs/flash.py --out=CLIPS --count=4000

A clip is a plain colour that turns white for two frames at one to four moments, with a tone of
60 ms that begins with each flash. Everything follows from the seed.
"""

import numpy as np
from absl import flags
from ml_collections import config_flags

from sorajax import build, cli
from sorajax.clip import Clip
from sorajax.data.generated import write_clips
from sorajax.data.prepare_file import PrepareConfig
from sorajax.errors import UserError
from sorajax.geometry import samples_of

_CONFIG = config_flags.DEFINE_config_file('config', None, 'Its prepare section sets the size.')
_OUT = flags.DEFINE_string('out', None, 'Folder for the clips.')
_COUNT = flags.DEFINE_integer('count', 4000, 'Training clips; a tenth more is held out.', 10)
_SEED = flags.DEFINE_integer('seed', 0, 'Of all of them.')
flags.mark_flags_as_required(['config', 'out'])

FLASH_FRAMES, GAP_FRAMES, BEEP_S = 2, 5, 0.06
SHORTEST = 2 + FLASH_FRAMES  # frames that a clip needs for one flash


def make_clip(rng: np.random.Generator, c: PrepareConfig) -> tuple[Clip, str]:
  """One clip of c.frames[0] frames, and no caption."""
  frames = c.frames[0]
  colour = rng.integers(20, 110, 3)
  video = np.broadcast_to(colour.astype(np.uint8), (frames, c.height, c.width, 3)).copy()
  audio = 0.002 * rng.normal(size=(samples_of(frames, c.fps, c.sample_rate_hz), c.audio_channels))
  starts = np.arange(1, frames - FLASH_FRAMES, GAP_FRAMES)
  chosen = rng.choice(len(starts), rng.integers(1, min(4, len(starts)) + 1), replace=False)
  for start in starts[np.sort(chosen)] + rng.integers(0, GAP_FRAMES - FLASH_FRAMES, len(chosen)):
    video[start : start + FLASH_FRAMES] = 250
    first = round(start / c.fps * c.sample_rate_hz)
    t = np.arange(int(BEEP_S * c.sample_rate_hz)) / c.sample_rate_hz
    tone = 0.5 * np.sin(2 * np.pi * 1000 * t) * np.minimum(1, (BEEP_S - t) / 0.01)
    audio[first : first + len(t)] += tone[: len(audio) - first, None]
  return Clip(video, audio.astype(np.float32), c.fps, c.sample_rate_hz), ''


def main() -> None:
  c = build.settings(_CONFIG.value).prepare
  if c.frames[0] < SHORTEST:
    raise UserError(f'config.prepare.frames is {c.frames}; flashes need {SHORTEST} frames or more')

  def make(split: str, number: int) -> tuple[Clip, str, str]:
    rng = np.random.default_rng([_SEED.value, split == 'train', number])
    return *make_clip(rng, c), ''

  write_clips(_OUT.value, c, make, name='flashes', count=_COUNT.value, seed=_SEED.value)
  print(f'{_COUNT.value} clips in {_OUT.value}')


if __name__ == '__main__':
  cli.run(main)
