import numpy as np
import pytest

from sorajax.codec.past import Past


def windows(x: np.ndarray, size: int, stride: int, axis: int) -> np.ndarray:
  """All windows of `size` frames, as a stand-in for any convolution."""
  return np.lib.stride_tricks.sliding_window_view(x, size, axis=axis).take(
    np.arange(0, x.shape[axis] - size + 1, stride), axis=axis
  )


@pytest.mark.parametrize(('first', 'axis'), [('zeros', 0), ('repeat', 1)])
@pytest.mark.parametrize(('count', 'stride'), [(4, 1), (2, 2), (2, 3)])
def test_chunks_see_the_windows_of_the_whole(first, axis, count, stride):
  whole = np.random.default_rng(0).standard_normal((9, 9, 2)).astype(np.float32)
  edge = np.take(whole, [0] * count, axis=axis) * (first == 'repeat')
  wanted = windows(np.concatenate([edge, whole], axis=axis), count + 1, stride, axis)
  for cuts in ([1], [1, 2, 3, 4], [5, 6]):
    made, carried = [], None
    for chunk in np.split(whole, cuts, axis=axis):
      past = Past(carried)
      seen = np.asarray(past.take(chunk, count, axis, first, stride))
      carried = past.carried
      if seen.shape[axis] > count:
        made.append(windows(seen, count + 1, stride, axis))
    np.testing.assert_array_equal(np.concatenate(made, axis=axis), wanted)


def test_each_layer_gets_its_own_past():
  carried = None
  for frame in range(4):
    past = Past(carried)
    assert past.first == (frame == 0)
    a = past.take(np.full((1, 1), frame + 1.0, np.float32), 1, axis=1)
    b = past.take(np.full((1, 1), frame + 10.0, np.float32), 2, axis=1)
    carried = past.carried
  np.testing.assert_array_equal(a, [[3, 4]])
  np.testing.assert_array_equal(b, [[11, 12, 13]])


def test_a_layer_without_a_past_carries_nothing():
  past, x = Past(), np.ones((1, 2))
  assert past.take(x, 0, axis=1) is x and past.carried == []
