"""Does memory grow with the length of a film? Decodes films of several lengths and draws the peak.

  python tools/measure_memory.py --codec=film --out=MEMORY

The latents are a slow random walk, so that no film of that size is needed; every film is decoded by
launch/decode_film.py in a process of its own, whose largest resident memory is read.
"""

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from absl import flags
from matplotlib.figure import Figure

from sorajax import cli
from sorajax.codec import codec as codec_lib
from sorajax.codec.codec import Codec
from sorajax.data import stored
from sorajax.errors import UserError
from sorajax.generate.ask import parse_size
from sorajax.geometry import samples_of
from sorajax.media.atomic import make_folder, replacing

_CODEC = flags.DEFINE_string('codec', 'film', 'Folder or name of a codec.')
_OUT = flags.DEFINE_string('out', None, 'Folder for the films and the drawing.', required=True)
_SIZE = flags.DEFINE_string('size', '1088x1920', 'HEIGHTxWIDTH in pixels.')
_SECONDS = flags.DEFINE_multi_integer('seconds', [10, 30, 90], 'Durations.')
_FPS = flags.DEFINE_float('fps', 12.0, 'Frames a second.')

PROGRAM = Path(__file__).resolve().parents[1] / 'launch' / 'decode_film.py'


def main() -> None:
  out, codec, size = make_folder(_OUT.value), codec_lib.load(_CODEC.value), parse_size(_SIZE.value)
  print(f'| {_SIZE.value}, seconds of film | seconds to decode | megapixels/s | peak memory |')
  print('|---|---|---|---|', flush=True)
  peaks = []
  for seconds in _SECONDS.value:
    frames = walk(out / f'latents_{seconds}', codec, size, seconds)
    begun = time.monotonic()
    peaks.append(_peak(f'--input={out}/latents_{seconds}', f'--out={out}/film_{seconds}.mp4'))
    took = time.monotonic() - begun
    speed = frames * size[0] * size[1] / 1e6 / took
    print(f'| {seconds} | {took:.0f} | {speed:.1f} | {peaks[-1] / 2**30:.2f} GiB |', flush=True)
  draw(out / 'memory.png', _SECONDS.value, peaks)
  print(f'\n{out / "memory.png"}')


def walk(folder: Path, codec: Codec, size: tuple[int, int], seconds: int) -> int:
  """Writes latents that change slowly; returns how many frames they stand for."""
  rng, g = np.random.default_rng(0), codec.geometry
  frames = g.video.frames_at_least(round(seconds * _FPS.value))
  samples = samples_of(frames, _FPS.value, g.audio.sample_rate_hz)
  film = stored.create(folder, codec, fps=_FPS.value, frames=frames, samples=samples, size=size)
  now = np.zeros(film.latents.video.shape[1:], np.float32)
  for i in range(len(film.latents.video)):
    now = 0.95 * now + 0.3 * codec.video.spread * rng.standard_normal(now.shape, np.float32)
    film.latents.video[i] = now
  film.latents.audio[:] = 0.3 * rng.standard_normal(film.latents.audio.shape, np.float32)
  stored.seal(film, codec)
  return frames


def draw(path: Path, seconds: list[int], peaks: list[int]) -> None:
  """Peak memory over duration."""
  figure = Figure(figsize=(6, 3.5), layout='constrained')
  axes = figure.subplots()
  axes.plot(seconds, [p / 2**30 for p in peaks], marker='o')
  axes.set(xlabel='seconds of film', ylabel='peak memory, GiB', title=f'decoding {_SIZE.value}')
  axes.set_ylim(bottom=0)
  axes.grid(alpha=0.3)
  with replacing(path) as temporary:
    figure.savefig(temporary, format='png', dpi=120)


def _peak(*command: str) -> int:
  """Bytes that the process held at most."""
  child = subprocess.Popen([sys.executable, str(PROGRAM), *command], stdout=subprocess.DEVNULL)
  _, status, usage = os.wait4(child.pid, 0)
  if status:
    raise UserError(f'{PROGRAM.name} ended with status {os.waitstatus_to_exitcode(status)}')
  return usage.ru_maxrss * 1024


if __name__ == '__main__':
  cli.run(main)
