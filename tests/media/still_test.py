import numpy as np
import pytest
from clips import scene
from PIL import Image, ImageOps

from sorajax.media import reader
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


def test_an_odd_last_row_and_column_are_dropped():
  np.testing.assert_array_equal(as_filmed(PICTURE[:31, :47], 20), as_filmed(PICTURE[:30, :46], 20))


def test_an_image_is_coded_before_it_is_scaled(tmp_path):
  """So that less is left of what coding did to it, the larger it is."""
  path = tmp_path / 'a.png'
  Image.fromarray(PICTURE).save(path)
  small = (8, 12)
  coded = Image.fromarray(as_filmed(PICTURE, 33))
  wanted = np.asarray(ImageOps.fit(coded, small[::-1], Image.Resampling.LANCZOS))
  np.testing.assert_array_equal(reader.read_image(path, small, 33), wanted)
  np.testing.assert_array_equal(reader.read(path, size=small, image_crf=33).video[0], wanted)
  plain = reader.read_image(path, small)
  late = as_filmed(plain, 33)
  assert 0 < np.abs(wanted - plain.astype(int)).mean() < np.abs(late - plain.astype(int)).mean()
