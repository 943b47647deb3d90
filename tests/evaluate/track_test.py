"""Bodies are found where they are painted, and nothing else is."""

import numpy as np
import pytest

from sorajax.evaluate import track
from sorajax.worlds import picture
from sorajax.worlds.scene import COLOURS, MATERIALS, SHAPES, Body, Camera, Scene

STYLES = ('plain', 'flat', 'outlined')


def room(*bodies: Body, style: str = 'plain', sky=(79, 60, 79), ground=(104, 104, 90)) -> Scene:
  return Scene(bodies, sky, ground, Camera(), 2.0, 1.0, style)


def frame(shown: Scene) -> np.ndarray:
  return picture.render(shown, shown.motion(), np.array([0.0]), 64, 64)[0]


@pytest.mark.parametrize('style', STYLES)
@pytest.mark.parametrize('material', MATERIALS)
@pytest.mark.parametrize('shape', SHAPES)
def test_every_body_is_found_where_it_is(shape, material, style):
  for number, colour in enumerate(COLOURS):
    place = 0.3 + 0.05 * number, 0.61 - 0.03 * number
    (patch,) = track.patches(
      frame(room(Body(shape, colour, material, 0.1, place, (0, 0)), style=style))
    )
    assert patch.colour == colour and not patch.cut
    assert np.hypot(*np.subtract(patch.place, place)) * 64 < 0.7
    rim = 2 * 1.5 / 64 if style == 'outlined' else 0.0  # dark, and no paint
    assert max(patch.size) == pytest.approx(0.2 - rim, abs=2.1 / 64)


@pytest.mark.parametrize('style', STYLES)
def test_an_empty_room_shows_no_body(style):
  for number in range(20):
    rng = np.random.default_rng(number)
    sky, ground = (tuple(rng.integers(*span, 3).tolist()) for span in ((15, 80), (50, 105)))
    assert not track.patches(frame(room(style=style, sky=sky, ground=ground)))


def test_two_bodies_are_two_and_the_largest_patch_of_a_colour_is_followed():
  red = Body('ball', 'red', 'wood', 0.12, (0.3, 0.5), (0, 0))
  blue = Body('box', 'blue', 'glass', 0.1, (0.7, 0.5), (0, 0))
  both = track.patches(frame(room(red, blue)))
  assert sorted(p.colour for p in both) == ['blue', 'red']
  found = track.follow([both, both[:1], []], ['red', 'blue', 'white'])
  first = both[0].colour
  np.testing.assert_array_equal(found[first].seen, [True, True, False])
  assert np.isnan(found[first].place[2]).all() and not found['white'].seen.any()


def test_a_body_half_out_of_the_picture_is_not_whole_and_one_at_the_wall_is():
  inside, half, wall = (
    track.patches(frame(room(Body('box', 'red', 'rubber', 0.1, (x, 0.5), (0, 0)))))
    for x in (0.5, 0.02, 0.1)
  )
  found = track.follow([inside, half, wall], ['red'])['red']
  np.testing.assert_array_equal(found.whole, [True, False, True])
