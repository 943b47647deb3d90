"""Films of any length through a codec, piece by piece; a kill costs one piece.

How a picture is cut depends on its size alone, so a film that was begun on some devices goes on on
any number of them, to values that are equal to 1e-5. Devices share the tiles of a picture, or the
rows of one that is a single tile.
"""

import dataclasses
import hashlib
import itertools
import os
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path

import jax
import numpy as np
import tqdm

from sorajax import sharding
from sorajax.clip import Latents
from sorajax.codec import video_config
from sorajax.codec.codec import Codec, PictureCoder
from sorajax.codec.convolutional import ConvCodec
from sorajax.codec.tiles import Tiling
from sorajax.data import stored
from sorajax.data.stored import FilmLatents
from sorajax.errors import UserError
from sorajax.geometry import samples_of
from sorajax.media import reader, segments
from sorajax.media.atomic import make_folder, replacing, write_text
from sorajax.media.source import file_hash

PIECE = 8  # latent frames between two savings
TILE = 72  # latents on a side; larger pictures are cut
STATE, MADE_OF, WHOLE = 'state.npz', 'made_of.txt', 'film.mp4'


def encode_film(
  path: str | os.PathLike[str], codec: Codec, folder: str | os.PathLike[str], *,
  fps: float | None = None, size: tuple[int, int] | None = None,
) -> None:  # fmt: skip
  """A film → its latents in `folder`; killed, the same call goes on.

  Args:
    path: of the film.
    codec: which encodes it.
    folder: for the latents; see `data.stored`.
    fps: frames a second; None keeps the film's.
    size: (height, width) to scale and centre-crop to; None takes the largest that the codec takes.

  Raises:
    UserError: a film that cannot be read, or is too small; a folder that holds another film.
  """
  found, g = reader.probe(path), codec.geometry
  if not found.frames:
    raise UserError(f'{path} has no picture; give a film')
  rate = found.fps if fps is None else fps
  if not 0 < rate <= 240:
    raise UserError(f'{rate} frames/s is out of range; give more than 0 and at most 240')
  height, width = size or tuple(
    n // s * s for n, s in zip((found.height, found.width), g.video.stride[1:])
  )
  t = g.video.stride[0]
  frames = 1 + (max(int(found.seconds * rate + 1e-6), 1) - 1) // t * t
  samples = samples_of(frames, rate, g.audio.sample_rate_hz) if found.sample_rate_hz else 0
  codec = tiled(codec, height, width)
  made_of = f'{codec.fingerprint} {file_hash(path)} {rate} {height}x{width}\n'
  g.video.latent_size(frames, height, width)  # raises before anything is written
  note = make_folder(folder) / MADE_OF
  if note.is_file() and note.read_text() != made_of:
    raise UserError(f'{folder} holds another film, or another codec; name a new folder')
  if (Path(folder) / stored.SAVED_LAST).is_file():
    return
  write_text(note, made_of)
  film = stored.create(
    folder, codec, fps=rate, frames=frames, samples=samples, size=(height, width)
  )
  with _all_devices():
    _encode_pictures(path, codec, film)
  if samples:
    film.latents.audio[:] = np.concatenate(list(_sound_latents(path, codec, samples)))
  stored.seal(film, codec)
  Place(film.folder).clear()


def decode_film(
  folder: str | os.PathLike[str], path: str | os.PathLike[str], *, crf: int = 18
) -> None:
  """The latents in `folder` → an mp4; killed, the same call goes on, to the same bytes.

  Segments and the decoder's state lie in `path` + '.parts' until the film is whole.

  Args:
    folder: of the latents; see `data.stored`.
    path: of the film.
    crf: H.264 quality, 0 (lossless) to 51 (worst).

  Raises:
    UserError: no latents there; a place that cannot be written to.
  """
  film, target = stored.open_film(folder), Path(path)
  if target.suffix.lower() != '.mp4':
    raise UserError(f'cannot write {target}: decode to a file that ends in .mp4')
  if target.is_dir():
    raise UserError(f'cannot write {target}: it is a folder; name a file inside it')
  codec, latents = tiled(film.codec, *film.size), film.latents
  parts = make_folder(target.with_name(target.name + '.parts'))
  _begin(parts, f'{codec.fingerprint} {_latents_hash(film.folder)} {crf}\n')
  with _all_devices():
    _decode_pictures(codec, latents, parts, crf)
  files = sorted(parts.glob('[0-9]*.mp4'))
  sounds = _sounds(codec, latents, len(files)) if latents.samples else None
  segments.join(parts / WHOLE, files, sounds, codec.audio.output_rate_hz)
  os.replace(parts / WHOLE, target)
  (parts / MADE_OF).unlink()  # first, since killed from here on there is nothing to go on from
  segments.remove(parts)


def tiled(codec: Codec, height: int, width: int) -> Codec:
  """The codec, cutting pictures of that size into tiles if they are large; the result is equal."""
  picture = codec.video
  _, y, x = codec.geometry.video.stride
  if not isinstance(picture, ConvCodec) or max(height // y, width // x) <= TILE * 4 // 3:
    return codec
  tiling = Tiling((TILE, TILE), 2 * video_config.reach(picture.config))
  return dataclasses.replace(codec, video=dataclasses.replace(picture, tiling=tiling, chunk=2))


@dataclasses.dataclass(frozen=True)
class Place:
  """How far the coding of a film has come, on disk.

  Attributes:
    folder: where `state.npz` lies.
  """

  folder: Path

  def save(self, coder: PictureCoder, taken: int, given: int) -> None:
    """Puts a coder away that has taken and given so many latent frames, or their pictures."""
    counts = np.asarray([taken, given])
    with replacing(self.folder / STATE) as temporary, temporary.open('wb') as file:
      np.savez(file, allow_pickle=False, counts=counts, **coder.state())

  def clear(self) -> None:
    """Takes away what `save` put there, and what a kill left of it."""
    for file in (self.folder / STATE, *self.folder.glob(f'.{STATE}.*.tmp')):
      file.unlink(missing_ok=True)

  def restore(self, coder: PictureCoder) -> tuple[int, int]:
    """Brings a coder back to where it was; returns what `save` was told."""
    if not (self.folder / STATE).is_file():
      return 0, 0
    with np.load(self.folder / STATE) as archive:
      state: Mapping[str, np.ndarray] = dict(archive)
    coder.resume({name: array for name, array in state.items() if name != 'counts'})
    taken, given = state['counts'].tolist()
    return taken, given


def _all_devices() -> AbstractContextManager:
  """Within, pictures are spread over all devices."""
  return jax.set_mesh(sharding.make_mesh(sharding.MeshConfig()))


def _encode_pictures(path: str | os.PathLike[str], codec: Codec, film: FilmLatents) -> None:
  """Fills in the latents of the picture, from where the last call stopped."""
  g, to = codec.geometry, film.latents
  place, coder = Place(film.folder), codec.video.encoder()
  taken, given = place.restore(coder)
  counts = _pieces(len(to.video), taken)
  edges = [g.video.pixel_frames(n) for n in itertools.accumulate(counts, initial=taken)]
  spans = [(begin / to.fps, end - begin) for begin, end in itertools.pairwise(edges)]
  clips = reader.read_spans(
    path, spans, fps=to.fps, size=film.size, sample_rate_hz=g.audio.sample_rate_hz,
    audio_channels=g.audio.audio_channels,
  )  # fmt: skip
  with tqdm.tqdm(total=to.frames, initial=edges[0], unit='frame', desc='encode') as bar:
    for count, clip in zip(counts, clips):
      made = coder.push(clip.video)
      to.video[given : given + len(made)] = made
      to.video.flush()
      taken, given = taken + count, given + len(made)
      place.save(coder, taken, given)
      bar.update(len(clip.video))
  to.video[given:] = coder.finish()


def _decode_pictures(codec: Codec, latents: Latents, parts: Path, crf: int) -> None:
  """Writes the segments of a film, from where the last call stopped."""
  place, coder = Place(parts), codec.video.decoder()
  done, _ = place.restore(coder)
  total = len(latents.video)
  started = codec.geometry.video.pixel_frames(done)
  with tqdm.tqdm(total=latents.frames, initial=started, unit='frame', desc='decode') as bar:

    def shown(pieces: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
      for frames in pieces:
        yield frames
        bar.update(len(frames))

    for count in _pieces(total, done):
      some = np.asarray(latents.video[done : done + count])
      pieces = shown(_decoded(coder, some, last=done + count == total))
      first = next(pieces, None)
      if first is not None:  # a decoder that looks ahead has nothing to show at first
        name = f'{done:06d}.mp4'
        pictures = itertools.chain([first], pieces)
        segments.write_segment(parts / name, pictures, latents.fps, crf=crf)
      done += count
      place.save(coder, done, done)


def _decoded(coder: PictureCoder, latents: np.ndarray, last: bool) -> Iterator[np.ndarray]:
  """Chunk by chunk, so that a piece's frames are never together."""
  made = (coder.push(latents[i : i + 1]) for i in range(len(latents)))
  rest = (coder.finish() for _ in range(last))
  return (frames for frames in itertools.chain(made, rest) if len(frames))


def _sounds(codec: Codec, latents: Latents, count: int) -> Iterator[np.ndarray]:
  """The sound in `count` chunks, of just the clip's length."""
  rate = codec.audio.output_rate_hz
  owed = round(latents.samples * rate / codec.geometry.audio.sample_rate_hz)
  coder = codec.audio.decoder()
  cuts = np.linspace(0, len(latents.audio), count + 1).round().astype(int)
  for i, (begin, end) in enumerate(itertools.pairwise(cuts)):
    made = coder.push(np.asarray(latents.audio[begin:end]))
    if i == count - 1:
      made = np.concatenate([made, coder.finish()])
    yield made[:owed]
    owed -= len(made[:owed])


def _sound_latents(path, codec: Codec, samples: int) -> Iterator[np.ndarray]:
  g, coder, done = codec.geometry.audio, codec.audio.encoder(), 0
  while done < samples:
    count = min(60 * g.sample_rate_hz, samples - done)
    clip = reader.read_sound(
      path, sample_rate_hz=g.sample_rate_hz, audio_channels=g.audio_channels,
      start_s=done / g.sample_rate_hz, seconds=count / g.sample_rate_hz,
    )  # fmt: skip
    yield coder.push(clip.audio[:count])
    done += count
  yield coder.finish()


def _pieces(total: int, done: int) -> list[int]:
  return [min(PIECE, total - start) for start in range(done, total, PIECE)]


def _begin(folder: Path, made_of: str) -> None:
  """Throws away what an earlier call left there of other data."""
  note = folder / MADE_OF
  if note.is_file() and note.read_text() == made_of:
    return
  for file in folder.iterdir():
    if file.name in (STATE, MADE_OF) or (file.suffix == '.mp4' and file.stem.isdigit()):
      file.unlink()
  write_text(note, made_of)


def _latents_hash(folder: Path) -> str:
  digest = hashlib.sha256((folder / stored.SAVED_LAST).read_bytes())
  for name in ('video.npy', 'audio.npy'):
    digest.update(file_hash(folder / name).encode())
  return digest.hexdigest()[:16]
