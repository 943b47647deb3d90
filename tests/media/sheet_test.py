import dataclasses

import numpy as np
import pytest
from clips import make_clip

from sorajax.errors import UserError
from sorajax.media import sheet


def test_a_sheet_shows_small_frames_large_and_unchanged():
  clip = make_clip(25, size=(32, 32))
  pixels = np.asarray(sheet.contact_sheet(clip))
  first = np.kron(clip.video[0], np.ones((4, 4, 1), np.uint8))  # 32 rows enlarged to 128
  at = sheet.MARGIN
  np.testing.assert_array_equal(pixels[at : at + 128, at : at + 128], first)


def test_the_caption_and_the_sound_take_room():
  clip = make_clip(4)
  plain = sheet.contact_sheet(dataclasses.replace(clip, audio=clip.audio[:0]))
  assert sheet.contact_sheet(clip).height > plain.height
  assert sheet.contact_sheet(clip, 'a ' * 400).height > sheet.contact_sheet(clip, 'a').height


@pytest.mark.parametrize('frames, channels', [(1, 0), (1, 1), (0, 1), (40, 2), (13, 1)])
def test_every_kind_of_clip_has_a_sheet(tmp_path, frames, channels):
  clip = make_clip(max(frames, 4), channels=channels)
  clip = dataclasses.replace(clip, video=clip.video[:frames] if frames < 4 else clip.video)
  sheet.save_image(tmp_path / 'sheet.png', sheet.contact_sheet(clip, 'caption'))
  assert (tmp_path / 'sheet.png').stat().st_size > 100


def test_sheets_stack_below_one_another():
  one, two = sheet.contact_sheet(make_clip(3)), sheet.contact_sheet(make_clip(25))
  page = sheet.stack_sheets([one, two])
  assert page.size == (max(one.width, two.width), one.height + two.height)
  with pytest.raises(UserError):
    sheet.stack_sheets([])


def test_another_extension_is_refused(tmp_path):
  with pytest.raises(UserError, match=r'end it in \.png'):
    sheet.save_image(tmp_path / 'sheet.gif', sheet.contact_sheet(make_clip(2)))


def test_pictures_side_by_side_keep_their_pixels():
  pictures = {name: np.full((150, 140, 3), i, np.uint8) for i, name in enumerate('abc', 1)}
  page = np.asarray(sheet.side_by_side(pictures))
  for place, picture in enumerate(pictures.values()):
    left = sheet.MARGIN + place * (140 + sheet.GAP)
    np.testing.assert_array_equal(page[sheet.MARGIN :][:150, left : left + 140], picture)
  wide = {name: np.zeros((100, 4000, 3), np.uint8) for name in 'ab'}
  assert sheet.side_by_side(wide, 'caption').width <= sheet.PAGE_WIDTH + 2 * sheet.MARGIN
