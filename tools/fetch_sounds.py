"""Fetches real speech and sound effects, as films of the pictures that they belong to.

  python tools/fetch_sounds.py --out=SOUNDS
  python launch/prepare.py --config=configs/sounds.py --input=SOUNDS --output=SOUND_CLIPS

They are the stamps of Tux Paint, recorded by volunteers in a dozen languages (GPL-2), taken from
the Debian package; that needs `apt-get` and `dpkg-deb`, but no rights. Makes a film for each
language and one of effects, and captions beside each.
"""

import json
import shutil
import subprocess
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import tqdm
from absl import flags
from PIL import Image

from sorajax import cli
from sorajax.clip import Clip
from sorajax.errors import UserError, one_line
from sorajax.geometry import samples_of
from sorajax.media import reader, writer
from sorajax.media.atomic import make_folder, write_text

_OUT = flags.DEFINE_string('out', None, 'Folder for the films and their captions.', required=True)
_MOST = flags.DEFINE_integer('most', 150, 'Stamps in a film.', lower_bound=1)

PACKAGE = 'tuxpaint-stamps-default'
STAMPS = 'usr/share/tuxpaint/stamps'
FPS, SIZE, RATE_HZ = 12.0, 128, 16_000
LEAST_FRAMES, MOST_FRAMES = 26, 72  # of a stamp
SILENCE_FRAMES = 2  # before a sound
LOUDNESS = 0.1  # to which every recording is brought, root mean square


def main() -> None:
  out = make_folder(_OUT.value)
  with tempfile.TemporaryDirectory() as scratch:
    stamps = unpack(Path(scratch))
    films = found(stamps)
    for name, sounds in tqdm.tqdm(sorted(films.items()), unit='film'):
      step = max(len(sounds) // _MOST.value, 1)
      write_film(out / f'{name}.mp4', sounds[::step][: _MOST.value], name)
  print(f'{len(films)} films in {out}')


def unpack(folder: Path) -> Path:
  """Downloads the package and unpacks it; returns the folder of its stamps."""
  for tool in ('apt-get', 'dpkg-deb'):
    if shutil.which(tool) is None:
      raise UserError(f'no {tool} here; unpack the Debian package {PACKAGE} on Debian or Ubuntu')
  _run(['apt-get', 'download', PACKAGE], folder)
  (archive,) = folder.glob('*.deb')
  _run(['dpkg-deb', '--extract', archive.name, 'unpacked'], folder)
  return folder / 'unpacked' / STAMPS


def found(stamps: Path) -> dict[str, list[tuple[Path, Path]]]:
  """Film name → (picture, sound) of its stamps: a film for each language, and `effects`."""
  films = defaultdict(list)
  for sound in sorted([*stamps.rglob('*.ogg'), *stamps.rglob('*.wav')]):
    stem, spoken, language = sound.stem.partition('_desc_')
    picture = sound.with_name(f'{stem}.png')
    if sound.stem.endswith('_desc') or not picture.is_file():
      continue  # the few English ones, and pictures that are drawings of another kind
    films[f'speech_{language}' if spoken else 'effects'].append((picture, sound))
  return {name: sounds for name, sounds in films.items() if len(sounds) >= 20}


def write_film(path: Path, stamps: Sequence[tuple[Path, Path]], name: str) -> None:
  """Shows one stamp after another while it sounds; captions go beside it."""
  spans: list[dict] = []

  def shots() -> Iterator[Clip]:
    start = 0
    for number, (picture, sound) in enumerate(stamps):
      audio = reader.read_sound(sound, sample_rate_hz=RATE_HZ, audio_channels=1).audio
      if not audio.any():
        continue
      audio = audio * (LOUDNESS / np.sqrt(np.mean(audio**2)))
      audio = audio / max(np.abs(audio).max() / 0.98, 1)
      frames = int(np.ceil(len(audio) / RATE_HZ * FPS)) + 2 * SILENCE_FRAMES
      frames = min(max(frames, LEAST_FRAMES), MOST_FRAMES)
      first = samples_of(SILENCE_FRAMES, FPS, RATE_HZ)
      begin, end = (samples_of(n, FPS, RATE_HZ) for n in (start, start + frames))
      track = np.zeros((end - begin, 1), np.float32)
      audio = audio[: len(track) - first]
      track[first : first + len(audio)] = audio
      what = _said(picture, name)
      spans.append({'start_s': start / FPS, 'end_s': (start + frames) / FPS, 'caption': what})
      start += frames
      still = np.broadcast_to(_picture(picture, number), (frames, SIZE, SIZE, 3))
      yield Clip(still, track, FPS, RATE_HZ)

  writer.write_stream(path, shots())
  text = json.dumps({'spans': spans}, indent=1, ensure_ascii=False)
  write_text(path.with_suffix('.json'), text + '\n')


def _said(picture: Path, name: str) -> str:
  """What a stamp's text file says in the language of the film."""
  lines = picture.with_suffix('.txt')
  text = lines.read_text(encoding='utf-8', errors='replace').splitlines() if lines.is_file() else []
  english = text[0].strip() if text else picture.stem.replace('_', ' ')
  language = name.removeprefix('speech_')
  if name == language:
    return f'the sound of: {english}'
  own = [t.partition('=')[2].strip() for t in text if t.startswith(f'{language}.utf8=')]
  return f'a voice says: {own[0] if own else english}'


def _picture(path: Path, number: int) -> np.ndarray:
  """The stamp on a ground whose colour changes from one to the next: uint8 [SIZE, SIZE, 3]."""
  hue = int(255 * (number * 0.382 % 1))
  ground = Image.new('HSV', (SIZE, SIZE), (hue, 120, 90 if number % 2 else 210)).convert('RGB')
  stamp = Image.open(path).convert('RGBA')
  stamp.thumbnail((SIZE, SIZE))
  ground.paste(stamp, tuple((SIZE - n) // 2 for n in stamp.size), stamp)
  return np.asarray(ground)


def _run(command: list[str], folder: Path) -> None:
  result = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
  if result.returncode:
    said = one_line((result.stderr or result.stdout)[-300:])
    raise UserError(f'{" ".join(command)} failed: {said}; try again')


if __name__ == '__main__':
  cli.run(main)
