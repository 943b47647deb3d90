import numpy as np
import pytest
from clips import scene
from tiny import refused

from sorajax.media.drawings import DRAWINGS, drawn

FRAMES = scene(0, 4, 12, 20)


@pytest.mark.parametrize('smaller', [1, 2, 4])
@pytest.mark.parametrize('name', DRAWINGS)
def test_a_drawing_is_a_picture_of_every_frame(name, smaller):
  made = drawn(FRAMES, name, smaller)
  assert made.shape == (4, 12 // smaller, 20 // smaller, 3) and made.dtype == np.uint8
  for frame, whole in zip(FRAMES, made):
    np.testing.assert_array_equal(drawn(frame[None], name, smaller)[0], whole)


def test_the_picture_is_its_own_drawing():
  np.testing.assert_array_equal(drawn(FRAMES, 'picture'), FRAMES)


def test_a_smaller_picture_has_the_mean_of_its_squares():
  made = drawn(FRAMES, 'picture', 4).astype(float)
  wanted = FRAMES[1, 4:8, 8:12].mean(axis=(0, 1))
  np.testing.assert_allclose(made[1, 1, 2], wanted, atol=0.5)


def test_grey_keeps_white_and_black_and_loses_colour():
  plain = np.array([[[[0] * 3, [255] * 3, [90] * 3, [255, 0, 0], [0, 255, 0]]]], np.uint8)
  made = drawn(plain, 'grey')
  np.testing.assert_array_equal(made, made[..., :1].repeat(3, axis=-1))
  assert made[0, 0, :3, 0].tolist() == [0, 255, 90] and made[0, 0, 3, 0] < made[0, 0, 4, 0]


def test_edges_are_white_where_brightness_changes_and_black_elsewhere():
  step = np.zeros((1, 8, 10, 3), np.uint8)
  step[:, :, 6:] = 255
  for frames in (step, step.swapaxes(1, 2)):
    made = drawn(frames, 'edges')
    bright = made if frames is step else made.swapaxes(1, 2)
    assert (bright[:, :, 5:7] == 255).all()
    assert not bright[:, :, :5].any() and not bright[:, :, 7:].any()


def test_what_cannot_be_drawn_is_refused():
  with refused("no drawing 'edge'; there are picture, grey, edges"):
    drawn(FRAMES, 'edge')
  with refused('12×20 pixels cannot be made 3 times smaller'):
    drawn(FRAMES, 'picture', 3)
