"""What the face of a character looks like in a clip."""

from collections import Counter
from typing import NamedTuple

import numpy as np
from scipy import ndimage

from sorajax.clip import Clip
from sorajax.evaluate import track
from sorajax.worlds.face import Face

FULL = 0.89  # of its box, that the lower half of a square head fills; that of a round one does not
NARROW = 0.55  # of the width of the face, below which a tuft is
EDGE, FLAT = 0.034, 0.166  # of the same: a headband is higher on average, and lower


class Traits(NamedTuple):
  """What is seen of a face; all of it '' where there is none.

  Attributes:
    skin: its colour.
    form: one of `face.FORMS`.
    hat: one of `face.HATS`.
    hat_colour: '' of a bald head.
  """

  skin: str = ''
  form: str = ''
  hat: str = ''
  hat_colour: str = ''


def traits(clip: Clip) -> Traits:
  """Those that most frames show."""
  return Traits(*(Counter(seen).most_common(1)[0][0] for seen in zip(*map(_traits, clip.video))))


def likeness(found: Traits, face: Face) -> float:
  """The share of the traits by which a caption names a face that are found."""
  asked = Traits(face.skin, face.form, face.hat, face.hat_colour if face.hat != 'bald' else '')
  right = [a == b for a, b in zip(found, asked) if b]
  return sum(right) / len(right)


def _traits(frame: np.ndarray) -> Traits:
  """Those of the largest patch, and of the largest one of another colour, which it wears."""
  patches = track.patches(frame)
  skin = max(patches, key=lambda p: p.area, default=None)
  if skin is None:
    return Traits()
  form, width = 'square' if _filled(frame) > FULL else 'round', skin.size[0]
  worn = max((p for p in patches if p.colour != skin.colour), key=lambda p: p.area, default=None)
  if worn is None or worn.area < EDGE * width * worn.size[0]:
    return Traits(skin.colour, form, 'bald')
  across, high = worn.size[0], worn.area / worn.size[0]
  hat = 'tuft' if across < NARROW * width else 'band' if high < FLAT * width else 'cap'
  return Traits(skin.colour, form, hat, worn.colour)


def _filled(frame: np.ndarray) -> float:
  """The share of the box around the lower half of a head that it fills, whatever is on it."""
  parts, _ = ndimage.label(ndimage.binary_fill_holes(frame.max(axis=-1) > track.BRIGHT))
  head = np.bincount(parts[parts > 0]).argmax()
  rows, columns = np.nonzero(parts == head)
  low = rows > (rows.min() + rows.max()) / 2
  if not low.any():  # it is a line
    return 1.0
  return float(low.sum() / ((np.ptp(rows[low]) + 1) * (np.ptp(columns[low]) + 1)))
