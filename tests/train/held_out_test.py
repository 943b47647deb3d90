import pytest

from sorajax.train.held_out import LEVELS, HeldOut

WEIGHT = {'video': 2.0, 'audio': 3.0}


def test_losses_are_those_of_tokens_and_weights_count_only_where_streams_are_together():
  """Of two batches, the second of which has three times as many tokens of the picture."""
  held = object.__new__(HeldOut)
  held._weight, held._batches = WEIGHT, [1.0, 3.0]
  held._errors = lambda params, count, key, level: {
    'video': (count * (count + level), count), 'audio': (5 * level, 1.0),
    'mean_video': (7 * count, count), 'mean_audio': (4.0, 1.0),
  }  # fmt: skip
  found = held({}, {})
  for level in LEVELS:
    video = (1 * (1 + level) + 3 * (3 + level)) / 4
    assert found[f'loss_video_at_{level}'] == pytest.approx(video)
    assert found[f'loss_audio_at_{level}'] == pytest.approx(5 * level)
    assert found[f'loss_at_{level}'] == pytest.approx(2 * video + 3 * 5 * level)
  assert found['loss_video'] == pytest.approx(2.5 + sum(LEVELS) / len(LEVELS))
  assert found['loss'] == pytest.approx(2 * found['loss_video'] + 3 * found['loss_audio'])
  assert found['mean_loss_video'] == 7 and found['mean_loss'] == 2 * 7 + 3 * 4
