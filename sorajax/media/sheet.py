"""Contact sheets: a clip on one page, to be looked at."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from sorajax.clip import Clip
from sorajax.errors import UserError
from sorajax.media.atomic import replacing

FRAMES = 12  # on a page
COLUMNS = 6
FRAME_HEIGHT = 128  # smaller frames are enlarged to this
PAGE_WIDTH = 1800  # larger frames are shrunk so that a row fits
GAP = 8
MARGIN = 16
LABEL = 18  # height of a line of text
WAVE_HEIGHT = 72  # of each sound channel

PAPER = (250, 250, 248)
INK = (40, 42, 46)
FAINT = (150, 152, 156)
WAVE = (38, 108, 170)
WAVE_PAPER = (238, 240, 243)


def contact_sheet(clip: Clip, caption: str = '') -> Image.Image:
  """Draws up to twelve evenly spaced frames with their times, over the waveform of the sound.

  Args:
    clip: video uint8 [F, H, W, 3] and audio float32 [S, A]; either may be empty.
    caption: written above, wrapped to the page.

  Returns:
    an RGB image.
  """
  numbers = _evenly(len(clip.video), FRAMES)
  thumbnails = [_thumbnail(clip.video[number]) for number in numbers]
  columns = min(len(thumbnails), COLUMNS) or 1
  cell_w, cell_h = thumbnails[0].size if thumbnails else (COLUMNS * FRAME_HEIGHT, 0)
  width = max(columns * (cell_w + GAP) - GAP, 3 * FRAME_HEIGHT)
  rows = -(-len(thumbnails) // columns)
  grid_h = rows * (cell_h + LABEL + GAP)
  wave_h = clip.audio.shape[1] * (WAVE_HEIGHT + GAP) + LABEL if len(clip.audio) else 0
  page, draw, top = _page(caption, width, grid_h + wave_h)
  for place, (number, thumbnail) in enumerate(zip(numbers, thumbnails)):
    x = MARGIN + place % columns * (cell_w + GAP)
    y = top + place // columns * (cell_h + LABEL + GAP)
    page.paste(thumbnail, (x, y))
    draw.text((x, y + cell_h + 2), f'{number / clip.fps:.2f} s', FAINT, _font(12))
  if wave_h:
    _draw_waves(draw, clip, (MARGIN, top + grid_h), width)
  return page


def side_by_side(pictures: Mapping[str, np.ndarray], caption: str = '') -> Image.Image:
  """Pictures uint8 [H, W, 3] of one size in a row, each over its name, and a caption above.

  They keep their pixels where the row fits the page.
  """
  images = [Image.fromarray(picture) for picture in pictures.values()]
  most = (PAGE_WIDTH - GAP * (len(images) - 1)) // len(images)
  if images[0].width > most:
    size = most, max(round(images[0].height * most / images[0].width), 1)
    images = [image.resize(size, Image.Resampling.LANCZOS) for image in images]
  cell_w, cell_h = images[0].size
  width = max(len(images) * (cell_w + GAP) - GAP, 3 * FRAME_HEIGHT)
  page, draw, top = _page(caption, width, cell_h + LABEL)
  for place, (name, image) in enumerate(zip(pictures, images)):
    x = MARGIN + place * (cell_w + GAP)
    page.paste(image, (x, top))
    draw.text((x, top + cell_h + 2), name, FAINT, _font(12))
  return page


def _page(caption: str, width: int, height: int) -> tuple[Image.Image, ImageDraw.ImageDraw, int]:
  """A page with its caption, a pen for it, and where its content of that size begins."""
  lines = _wrap(caption, width)
  top = MARGIN + len(lines) * LABEL + (GAP if lines else 0)
  page = Image.new('RGB', (width + 2 * MARGIN, top + height + MARGIN), PAPER)
  draw = ImageDraw.Draw(page)
  for row, line in enumerate(lines):
    draw.text((MARGIN, MARGIN + row * LABEL), line, INK, _font(14))
  return page, draw, top


def save_image(path: str | os.PathLike[str], image: Image.Image) -> None:
  """Writes an image as `.png` or `.jpg`, whole or not at all."""
  kinds = {'.png': 'PNG', '.jpg': 'JPEG', '.jpeg': 'JPEG'}
  suffix = Path(path).suffix.lower()
  if suffix not in kinds:
    raise UserError(f'cannot write {path}: {suffix or "no extension"} is not known; end it in .png')
  with replacing(path) as temporary:
    image.save(temporary, format=kinds[suffix])


def stack_sheets(sheets: Sequence[Image.Image]) -> Image.Image:
  """Several sheets on one page, one below the other, with a line between them."""
  if not sheets:
    raise UserError('there are no contact sheets to stack')
  width = max(sheet.width for sheet in sheets)
  page = Image.new('RGB', (width, sum(sheet.height for sheet in sheets)), PAPER)
  draw = ImageDraw.Draw(page)
  y = 0
  for number, sheet in enumerate(sheets):
    page.paste(sheet, (0, y))
    if number:
      draw.line([(MARGIN, y), (width - MARGIN, y)], (216, 218, 220))
    y += sheet.height
  return page


def _evenly(count: int, at_most: int) -> list[int]:
  """Up to `at_most` numbers of 0 … count − 1, the first and the last among them."""
  if count <= at_most:
    return list(range(count))
  return [round(place * (count - 1) / (at_most - 1)) for place in range(at_most)]


def _thumbnail(frame: np.ndarray) -> Image.Image:
  """A frame at a size to look at: pixels stay square-edged when there are few of them."""
  image = Image.fromarray(frame)
  limit = (PAGE_WIDTH - (COLUMNS - 1) * GAP) // COLUMNS
  if image.height < FRAME_HEIGHT and image.width * 2 <= limit:
    factor = min(-(-FRAME_HEIGHT // image.height), limit // image.width)
    size = image.width * factor, image.height * factor
    return image.resize(size, Image.Resampling.NEAREST)
  if image.width > limit:
    size = limit, max(round(image.height * limit / image.width), 1)
    return image.resize(size, Image.Resampling.LANCZOS)
  return image


def _draw_waves(draw: ImageDraw.ImageDraw, clip: Clip, corner: tuple[int, int], width: int) -> None:
  """Draws each channel's envelope across the page, and the seconds under the last."""
  x, y = corner
  edges = np.linspace(0, len(clip.audio), width + 1).astype(int)
  starts = np.minimum(edges[:-1], len(clip.audio) - 1)
  half = WAVE_HEIGHT // 2
  sound = np.nan_to_num(clip.audio)
  peak = float(np.abs(sound).max())
  gain = half / max(peak, 0.01)  # the loudest moment fills the height, and the note says how loud
  for channel in range(clip.audio.shape[1]):
    high = np.maximum.reduceat(sound[:, channel], starts) * gain
    low = np.minimum.reduceat(sound[:, channel], starts) * gain
    middle = y + half
    draw.rectangle([x, y, x + width - 1, y + WAVE_HEIGHT], WAVE_PAPER)
    for column in range(width):
      ends = round(middle - high[column]), round(middle - low[column])
      draw.line([(x + column, ends[0]), (x + column, ends[1])], WAVE)
    y += WAVE_HEIGHT + GAP
  draw.text((x, y - 4), '0.00 s', FAINT, _font(12))
  seconds = len(clip.audio) / clip.sample_rate_hz
  draw.text((x + width, y - 4), f'{seconds:.2f} s', FAINT, _font(12), anchor='ra')
  note = f'{clip.sample_rate_hz} Hz · peak {peak:.2f}'
  draw.text((x + width / 2, y - 4), note, FAINT, _font(12), anchor='ma')


def _wrap(text: str, width: int) -> list[str]:
  """Text in lines of at most `width` pixels."""
  lines: list[str] = []
  for word in text.split():
    longer = f'{lines[-1]} {word}' if lines else word
    if lines and _font(14).getlength(longer) <= width:
      lines[-1] = longer
    else:
      lines.append(word)
  return lines


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
  return ImageFont.load_default(size)
