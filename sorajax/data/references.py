"""The pictures that clips are made after, in their context."""

import dataclasses
from collections.abc import Callable

import numpy as np

from sorajax.data.sources import clip_of, open_source
from sorajax.errors import UserError
from sorajax.media import drawings

Draw = Callable[[str, np.ndarray], np.ndarray]  # key and frames of a clip → frames of its reference


@dataclasses.dataclass(frozen=True)
class Reference:
  """Where the references of a data set's clips come from.

  Attributes:
    source: the name of a drawing that is made of the clip itself (`media.drawings`), or a folder of
      clips with the same keys.
    smaller: how many times smaller they are than the clips.
  """

  source: str
  smaller: int = 1

  def opened(self, split: str) -> Draw:
    """What finds the reference of a clip.

    Raises:
      UserError: neither a drawing nor a folder of clips; later, a clip without a reference, or with
        one of another size.
    """
    if self.source in drawings.DRAWINGS:
      return lambda key, frames: drawings.drawn(frames, self.source, self.smaller)
    source = open_source(self.source, split)
    number_of = {row.key: number for number, row in enumerate(source.rows)}

    def found(key: str, frames: np.ndarray) -> np.ndarray:
      if key not in number_of:
        raise UserError(f'{self.source} has no clip {key} in {split}, which is to be a reference')
      other = clip_of(source[number_of[key]]).video
      count, height, width = frames.shape[:3]
      wanted = (count, height // self.smaller, width // self.smaller, 3)
      if other.shape != wanted:
        raise UserError(
          f'{self.source}: {key} is {other.shape[:3]} frames and pixels and its clip '
          f'{frames.shape[:3]}; a reference {self.smaller} times smaller is {wanted[:3]}'
        )
      return other

    return found
