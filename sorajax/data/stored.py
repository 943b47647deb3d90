"""One film's latents as a folder that brings its codec along, read without loading it whole."""

import dataclasses
import json
import os
from pathlib import Path

import numpy as np

from sorajax.clip import Latents
from sorajax.codec import codec as codec_lib
from sorajax.codec.codec import Codec
from sorajax.errors import UserError, cannot_read, one_line
from sorajax.media.atomic import make_folder, write_text

CODEC, SAVED_LAST = 'codec', 'film.json'


@dataclasses.dataclass(frozen=True)
class FilmLatents:
  """Latents on disk.

  Attributes:
    folder: `video.npy`, `audio.npy`, `film.json` and `codec/`.
    latents: whose arrays lie on disk until they are read.
    size: (height, width) of the picture in pixels.
  """

  folder: Path
  latents: Latents
  size: tuple[int, int]

  @property
  def codec(self) -> Codec:
    """What made the latents and reads them."""
    return codec_lib.load(self.folder / CODEC)


def create(
  folder: str | os.PathLike[str], codec: Codec, *, fps: float, frames: int, samples: int,
  size: tuple[int, int],
) -> FilmLatents:  # fmt: skip
  """Makes room for a film's latents, to be filled in; keeps what is filled in already.

  Raises:
    UserError: a size that the codec does not take, or a folder that cannot be written to.
  """
  path = make_folder(folder)
  video = (*codec.geometry.video.latent_size(frames, *size), codec.geometry.video.channels)
  audio = (codec.geometry.audio.latent_length(samples), codec.geometry.audio.channels)
  arrays = {}
  for name, shape in (('video', video), ('audio', audio)):
    file = path / f'{name}.npy'
    mode = 'r+' if file.is_file() else 'w+'
    array = np.lib.format.open_memmap(file, mode, np.float32, shape)
    with file.open('r+b') as whole:
      os.posix_fallocate(whole.fileno(), 0, file.stat().st_size)  # a full disk says so now
    if array.shape != shape:
      raise UserError(f'{file} holds {array.shape}, and this film needs {shape}; name a new folder')
    arrays[name] = array
  latents = Latents(arrays['video'], arrays['audio'], fps, frames, samples)
  return FilmLatents(path, latents, size)


def seal(film: FilmLatents, codec: Codec) -> None:
  """Says that the latents are whole."""
  codec.save(film.folder / CODEC)
  known = {'fps': film.latents.fps, 'frames': film.latents.frames, 'samples': film.latents.samples}
  text = json.dumps({**known, 'height': film.size[0], 'width': film.size[1]})
  write_text(film.folder / SAVED_LAST, text + '\n')


def write(folder: str | os.PathLike[str], codec: Codec, latents: Latents) -> None:
  """Writes latents that are at hand as a whole."""
  _, y, x = codec.geometry.video.stride
  size = latents.video.shape[1] * y, latents.video.shape[2] * x
  film = create(
    folder, codec, fps=latents.fps, frames=latents.frames, samples=latents.samples, size=size
  )
  film.latents.video[:], film.latents.audio[:] = latents.video, latents.audio
  seal(film, codec)


def open_film(folder: str | os.PathLike[str]) -> FilmLatents:
  """Opens what `seal` made whole.

  Raises:
    UserError: no latents there, or damaged ones.
  """
  path = Path(folder)
  if not (path / SAVED_LAST).is_file():
    raise UserError(f'{path} holds no film latents; make them with launch/encode_film.py')
  try:
    known = json.loads((path / SAVED_LAST).read_text(encoding='utf-8'))
    arrays = {m: np.load(path / f'{m}.npy', mmap_mode='r') for m in ('video', 'audio')}
    size = known.pop('height'), known.pop('width')
    latents = Latents(**arrays, **known)
  except Exception as error:  # a damaged array raises whatever its layer likes
    raise cannot_read(path, f'{one_line(error)}; encode again') from error
  return FilmLatents(path, latents, size)
