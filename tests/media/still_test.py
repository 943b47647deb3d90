import numpy as np
import pytest
from clips import scene

from sorajax.media.still import as_filmed

PICTURE = scene(3, 1, 32, 48)[0]


def error(picture: np.ndarray) -> float:
  return float(np.square(picture.astype(float) - PICTURE).mean())


def test_a_picture_loses_the_more_the_less_is_kept():
  made = [as_filmed(PICTURE, crf) for crf in (0, 10, 30, 50)]
  np.testing.assert_array_equal(made[0], PICTURE)
  errors = [error(picture) for picture in made]
  assert errors == sorted(errors) and 0 < errors[1] < errors[-1] < PICTURE.var()
  assert all((p.dtype, p.shape) == (np.uint8, PICTURE.shape) for p in made)


@pytest.mark.parametrize('crf', [18, 33])
def test_a_picture_becomes_the_same_every_time(crf):
  np.testing.assert_array_equal(as_filmed(PICTURE, crf), as_filmed(PICTURE.copy(), crf))
