"""The measurement of seams, on pictures of a few tiles."""

import re

import numpy as np
from PIL import Image
from programs import run

SMALL = ('--codec=film', '--size=640x64', '--frames=1', '--tile=24', '--overlap=2')


def test_exact_tiles_differ_by_a_level_at_most_and_others_by_more(tmp_path):
  out = run('tools/measure_tiles.py', *SMALL, f'--out={tmp_path}')
  rows = re.findall(r'\| (\d+) latents \| (\d+) \|', out)
  (exact, least), (less, most) = ((int(overlap), int(levels)) for overlap, levels in rows)
  assert less < exact and least <= 1 < most
  page = np.asarray(Image.open(tmp_path / 'tiles.png'))
  assert page.shape[0] > 2 * 640 and page.shape[1] > 3 * 64


def test_a_picture_of_one_tile_is_refused(tmp_path):
  error = run('tools/measure_tiles.py', *SMALL, '--size=64x64', f'--out={tmp_path}', fails=True)
  assert 'is a single tile of 24 latents; lower --tile' in error
