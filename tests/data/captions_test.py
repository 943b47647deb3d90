import pytest

from sorajax.data import captions
from sorajax.errors import UserError


@pytest.mark.parametrize(
  'text, said',
  [
    ('{"caption": "a dog \\ud83d"}', 'surrogates not allowed'),  # half of a character
    ('{"caption": 3}', 'the caption 3 is not text'),
    ('{"caption": "a", "start_s": 2, "end_s": 1}', 'a span goes from 2.0 s to 1.0 s'),
  ],
)
def test_captions_that_cannot_be_stored_are_refused_in_one_line(tmp_path, text, said):
  (tmp_path / 'film.json').write_text(text)
  with pytest.raises(UserError, match=said) as error:
    captions.load(tmp_path / 'film.json')
  assert '\n' not in str(error.value) and 'film.json' in str(error.value)
