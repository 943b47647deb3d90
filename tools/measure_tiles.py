"""Do seams show where a picture is cut into tiles? Decodes it whole and in tiles, and compares.

  python tools/measure_tiles.py --codec=film --input=FILM.mp4 --out=TILES

Tiles overlap once by all that the decoder sees, which is exact, and once by less. `tiles.png` shows
the frame that differs most: whole | in tiles | the difference, amplified. The whole picture must
fit into memory; without --input it is made up.
"""

import dataclasses

import numpy as np
from absl import flags

from sorajax import cli
from sorajax.codec import codec as codec_lib
from sorajax.codec import video_config
from sorajax.codec.convolutional import ConvCodec
from sorajax.codec.tiles import Tiling
from sorajax.errors import UserError
from sorajax.generate import film
from sorajax.generate.ask import parse_size
from sorajax.media import reader, sheet
from sorajax.media.atomic import make_folder

_CODEC = flags.DEFINE_string('codec', 'film', 'Folder or name of a codec.')
_INPUT = flags.DEFINE_string('input', None, 'A film or an image; default: one that is made up.')
_START = flags.DEFINE_float('start', 0.0, 'Seconds into the film.')
_OUT = flags.DEFINE_string('out', None, 'Folder for tiles.png.', required=True)
_SIZE = flags.DEFINE_string('size', '1088x1920', 'HEIGHTxWIDTH in pixels.')
_FRAMES = flags.DEFINE_integer('frames', 5, 'How many, if the codec takes so many.', 1)
_TILE = flags.DEFINE_integer('tile', film.TILE, 'Latents on a side of a tile.', 1)
_OVERLAP = flags.DEFINE_integer(
  'overlap', None, 'Latents that tiles share where they share less; default: a quarter.', 0
)


def main() -> None:
  out, codec, size = make_folder(_OUT.value), codec_lib.load(_CODEC.value), parse_size(_SIZE.value)
  picture = codec.video
  if not isinstance(picture, ConvCodec):
    raise UserError(f'the pictures of {_CODEC.value} are not cut; name a convolutional codec')
  picture = dataclasses.replace(picture, tiling=None)
  exact = 2 * video_config.reach(picture.config)
  less = exact // 4 if _OVERLAP.value is None else _OVERLAP.value
  tilings = [Tiling((_TILE.value, _TILE.value), overlap) for overlap in (exact, less)]
  if max(picture.geometry.latent_size(1, *size)) <= _TILE.value:
    raise UserError(f'{_SIZE.value} is a single tile of {_TILE.value} latents; lower --tile')
  latents = picture.encode(shown(picture.geometry.frames_at_least(_FRAMES.value), size))
  whole = picture.decode(latents)
  made = [dataclasses.replace(picture, tiling=tiling).decode(latents) for tiling in tilings]
  apart = [difference(whole, tiled) for tiled in made]
  print('| tiles overlap by | largest difference, 8-bit levels | pixels that differ |')
  print('|---|---|---|')
  for tiling, d in zip(tilings, apart):
    print(f'| {tiling.overlap} latents | {d.max()} | {d.any(axis=-1).mean():.3%} |')
  factor = 255 // max(*(d.max() for d in apart), 1)
  rows = [page(whole, *row, factor) for row in zip(made, apart, tilings)]
  sheet.save_image(out / 'tiles.png', sheet.stack_sheets(rows))
  print(f'\n{out / "tiles.png"}')


def shown(frames: int, size: tuple[int, int]) -> np.ndarray:
  """The frames uint8 [F, H, W, 3] that are coded."""
  if _INPUT.value is None:
    return made_up(frames, size)
  count = 1 if reader.probe(_INPUT.value).frames == 1 else frames
  return reader.read(_INPUT.value, size=size, start_s=_START.value, frames=count).video


def made_up(frames: int, size: tuple[int, int]) -> np.ndarray:
  """Rings of every fineness that grow, over squares with sharp edges: uint8 [F, H, W, 3]."""
  y, x = np.mgrid[: size[0], : size[1]] / max(size)
  squares = (np.floor(12 * x) + np.floor(12 * y)) % 2
  waves = [np.sin(200 * (x**2 + y**2) - 0.3 * frame) for frame in range(frames)]
  channels = np.stack([x, y, 1 - x], axis=-1)
  grey = np.stack(waves)[..., None] * 60 + squares[..., None] * 50
  return np.clip(40 + 60 * channels + grey, 0, 255).astype(np.uint8)


def difference(a: np.ndarray, b: np.ndarray) -> np.ndarray:
  """Levels between two clips uint8."""
  return np.abs(a.astype(np.int16) - b).astype(np.uint8)


def page(whole: np.ndarray, tiled: np.ndarray, apart: np.ndarray, tiling: Tiling, factor: int):
  """The frame that differs most, as a page with a caption."""
  i = int(apart.reshape(len(apart), -1).max(axis=1).argmax())
  amplified = f'difference, {factor} times'
  pictures = {'whole': whole[i], 'in tiles': tiled[i], amplified: apart[i] * factor}
  caption = (
    f'Frame {i} in tiles of {tiling.size[0]} by {tiling.size[1]} latents that overlap by '
    f'{tiling.overlap}; the largest difference is {apart.max()} of 255 levels, drawn {factor} '
    'times as large.'
  )
  return sheet.side_by_side(pictures, caption)


if __name__ == '__main__':
  cli.run(main)
