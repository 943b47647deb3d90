"""What the generated world shows, sounds like and says is what is true of it."""

import dataclasses
import re

import numpy as np
import pytest
from tiny import refused

from sorajax.worlds import draw, picture, scene, sound
from sorajax.worlds.scene import COLOURS, KINDS, MATERIALS, Body, Camera, Scene
from sorajax.worlds.truth import Truth
from sorajax.worlds.world import SPLITS, WorldConfig, generate

CONFIG = WorldConfig()
ROOM = dataclasses.replace(CONFIG, kind='room')
SEEDS = range(6)
each_kind = pytest.mark.parametrize('kind', KINDS)


@pytest.fixture(scope='module')
def made():
  return [generate(CONFIG, 'train', 0, number) for number in range(24)]


def of_kind(kind: str, number: int, config: WorldConfig = CONFIG):
  return generate(dataclasses.replace(config, kind=kind), 'train', 0, number)


def alone(body: Body, **parts) -> Scene:
  return Scene((body,), (20, 20, 60), (70, 90, 70), Camera(), 2.0, 1.0, **parts)


@each_kind
def test_a_seed_gives_the_same_bytes_and_another_others(kind):
  (clip, caption, truth), again = (of_kind(kind, 1) for _ in range(2))
  np.testing.assert_array_equal(clip.video, again[0].video)
  np.testing.assert_array_equal(clip.audio, again[0].audio)
  assert (caption, truth) == again[1:]
  assert (clip.video != of_kind(kind, 2)[0].video).any()


def test_splits_share_no_clip(made):
  others = [generate(CONFIG, split, 0, 1) for split in SPLITS[1:]]
  assert all((made[1][0].video != other.video).any() for other, _, _ in others)


def test_truth_survives_json(made):
  for _, _, truth in made:
    assert Truth.from_json(truth.to_json()) == truth


def test_truth_is_the_same_on_processors_that_round_otherwise(made):
  nudged = lambda values: (np.array(values) * (1 + 1e-15) - 1e-17).tolist()
  for _, _, truth in made[:6]:
    shots = [
      dataclasses.replace(s, position=nudged(s.position), view=nudged(s.view)) for s in truth.shots
    ]
    assert shots != truth.shots
    assert Truth(shots, truth.novel).to_json() == truth.to_json()


@each_kind
def test_clips_have_the_form_that_was_asked_for(kind):
  config = WorldConfig(17, 8.0, 32, 48, 8000, 2)
  clip, _, truth = of_kind(kind, 0, config)
  assert clip.video.shape == (17, 32, 48, 3) and clip.video.dtype == np.uint8
  assert clip.audio.shape == (17_000, 2) and np.abs(clip.audio).max() <= 1
  assert sum(len(shot.times_s) for shot in truth.shots) == 17


@each_kind
@pytest.mark.parametrize('width', [24, 8])
def test_all_find_their_place_in_pictures_that_are_higher_than_wide(kind, width):
  config = WorldConfig(9, 8.0, 32, width, 8000, most=3)
  for number in range(6):
    clip, _, truth = of_kind(kind, number, config)
    assert clip.video.shape == (9, 32, width, 3)
    for shot in truth.shots:
      speaker = shot.scene['speaker']
      lies = [(b['position'][0], b['radius']) for b in shot.scene['bodies'] if kind != 'pendulum']
      lies += [(speaker['place'][0], speaker['radius'])] if speaker else []
      assert all(r <= x <= width / 32 - r for x, r in lies)


@pytest.mark.parametrize(
  ('form', 'message'),
  [
    *(({name: 0}, f'{name} of the generated world is 0; give more than 0')
      for name in ('frames', 'fps', 'height', 'width', 'sample_rate_hz', 'cut_frames')),
    ({'fps': float('nan')}, 'fps of the generated world is nan; give more than 0'),
    ({'most': 0}, 'most of the generated world is 0; give 1 to 4'),
    ({'most': 5}, 'most of the generated world is 5; give 1 to 4'),
    ({'audio_channels': 6}, 'audio_channels of the generated world is 6; give 1 to 2'),
    ({'height': 64, 'width': 15}, 'are 64 high and 15 wide; widen them to 16 or more'),
  ],
)  # fmt: skip
def test_a_form_that_clips_cannot_have_is_refused(form, message):
  with refused(message):
    WorldConfig(**form)


@pytest.mark.parametrize('number', SEEDS)
def test_a_body_is_painted_where_it_is(number):
  """The middle of what has a body's hue is its centre, to a pixel, unless another hides it."""
  shown = alone(Body('ball', 'red', 'rubber', 0.12, (0.3 + 0.08 * number, 0.8), (0.3, 0.0)))
  motion = shown.motion()
  for t in (0.0, 0.4, 0.9):
    (frame,) = picture.render(shown, motion, np.array([t]), 64, 64)
    red = frame[..., 0].astype(int) - frame[..., 2] > 60
    rows, columns = np.nonzero(red)
    x, y = motion.at(t)[0][0]
    assert abs((columns.mean() + 0.5) / 64 - x) < 1 / 64
    assert abs(1 - (rows.mean() + 0.5) / 64 - y) < 1 / 64
    assert red.sum() == pytest.approx(np.pi * (0.12 * 64) ** 2, rel=0.1)


def test_a_zoom_enlarges_and_keeps_the_floor_below():
  body = Body('box', 'white', 'rubber', 0.1, (0.5, 0.5), (0.0, 0.0))
  areas = []
  for kind in ('static', 'zoom_out'):
    shown = Scene((body,), (10, 10, 10), (60, 60, 60), Camera(kind, 1.5), 2.0, 1.0)
    (frame,) = picture.render(shown, shown.motion(), np.array([0.0]), 64, 64)
    areas.append((frame.min(axis=-1) > 200).sum())
    assert frame[-1].mean() > 2 * frame[5].mean()
  assert areas[1] == pytest.approx(1.5**2 * areas[0], rel=0.15)


@pytest.mark.parametrize('kind', scene.CAMERAS)
def test_no_camera_sees_beyond_the_room(kind):
  shown = dataclasses.replace(
    alone(Body('ball', 'red', 'wood', 0.1, (0.1, 0.5), (0.7, 0.0))),
    camera=Camera(kind, {'z': 1.5, 's': 0.03}.get(kind[0], 0.2)),
  )
  motion = shown.motion()
  for t in np.linspace(0, 2, 41):
    x, y, zoom = picture.view(shown, motion, t)
    assert 0.5 / zoom - 1e-9 <= x <= 1 - 0.5 / zoom + 1e-9 and y - 0.5 / zoom >= -1e-9


def test_a_camera_that_follows_keeps_its_body_in_the_middle():
  shown = dataclasses.replace(
    alone(Body('ball', 'red', 'wood', 0.1, (0.4, 0.5), (0.2, 0.0))), camera=Camera('follow')
  )
  motion = shown.motion()
  for t in (0.0, 0.5):
    assert picture.view(shown, motion, t)[0] == motion.at(t)[0][0, 0]


def test_styles_change_the_picture_and_nothing_else():
  pictures = {}
  for style in scene.STYLES:
    shown = alone(Body('ball', 'red', 'wood', 0.1, (0.5, 0.5), (0.0, 0.0)), style=style)
    pictures[style] = picture.render(shown, shown.motion(), np.array([0.0]), 64, 64)[0].astype(int)
  plain = pictures['plain']
  assert all((p != plain).any() for style, p in pictures.items() if style != 'plain')
  grey = pictures['sepia'] / np.maximum(pictures['sepia'].max(axis=-1, keepdims=True), 1)
  assert np.ptp(grey[..., 2]) < 0.1  # one hue
  assert (pictures['night'] <= plain).all()
  outline = pictures['outlined'][32 - 6, 32]  # a pixel within the upper rim
  assert outline.sum() < 0.5 * plain[32 - 6, 32].sum()


@pytest.mark.parametrize('number', SEEDS)
def test_every_heard_contact_raises_the_sound_at_its_sample(number):
  rng = np.random.default_rng(number)
  shown, motion = draw.shot(rng, draw.cast(rng, most=1, kind='room'), seconds=4.0, width=1.0)
  shown = dataclasses.replace(shown, ambience='quiet')
  render = lambda channels: sound.render(
    shown, motion, np.random.default_rng(0), samples=64_000, rate_hz=16_000, channels=channels
  )
  audio = render(1)[:, 0]
  contacts = sound.heard(motion)
  assert contacts and not np.abs(audio[: round(contacts[0].time_s * 16_000) - 1]).max() > 0.004
  for contact in contacts:
    at, body = round(contact.time_s * 16_000), shown.bodies[contact.body]
    fresh = sound.strike(MATERIALS[body.material], body.radius, contact.speed, 16_000)[:160]
    change = audio[at : at + 160] - np.median(audio[max(at - 20, 0) : at])
    assert np.abs(change).max() > 0.3 * np.abs(fresh).max()
  assert render(2).shape == (64_000, 2)


@pytest.mark.parametrize('kind', ['pendulum', 'water'])
def test_chimes_and_splashes_come_at_their_sample(kind):
  for number in range(3):
    clip, _, truth = of_kind(kind, number)
    (shot,) = truth.shots
    onset = round(shot.onsets[0]['time_s'] * 16_000)
    before, after = (np.abs(clip.audio[s]).max() for s in (slice(onset), slice(onset, onset + 800)))
    assert after > 3 * before


def test_what_is_on_the_left_is_loud_on_the_left():
  for x, louder in ((0.15, 0), (0.85, 1)):
    shown = alone(Body('ball', 'red', 'metal', 0.1, (x, 0.6), (0.0, 0.0)))
    audio = sound.render(
      shown, shown.motion(), np.random.default_rng(0), samples=16_000, rate_hz=16_000, channels=2
    )
    power = np.square(audio).mean(axis=0)
    assert power[louder] > 4 * power[1 - louder]


def test_a_ball_that_rolls_rumbles_and_a_box_that_slides_does_not():
  power = {}
  for shape in ('ball', 'box'):
    shown = alone(Body(shape, 'red', 'wood', 0.1, (0.2, scene.FLOOR + 0.1), (0.3, 0.0)))
    audio = sound.render(
      shown, shown.motion(), np.random.default_rng(0), samples=16_000, rate_hz=16_000, channels=1
    )
    power[shape] = np.square(audio).mean()
  assert power['ball'] > 20 * power['box']


def test_captions_name_every_body_and_every_word(made):
  for _, caption, truth in made:
    for shot in truth.shots:
      assert shot.caption in caption
      for body in shot.scene['bodies']:
        assert f'{body["colour"]} {body["material"]} {body["shape"]}' in shot.caption
      if shot.kind == 'speech':
        assert f'"{" ".join(shot.scene["speaker"]["words"])}"' in shot.caption


@pytest.mark.parametrize(('kind', 'words'), [('pendulum', 'pendulum|swings'), ('water', 'water')])
def test_captions_tell_the_kind_of_a_scene(kind, words):
  for number in range(12):
    assert re.search(words, of_kind(kind, number)[1])


def test_captions_seldom_repeat():
  captions = {generate(CONFIG, 'train', 0, number)[1] for number in range(60)}
  assert len(captions) >= 57


def test_all_kinds_come_as_often_as_they_should():
  """Each share to four standard errors of 400 draws: a false alarm in 4,000 runs."""
  drawn = [draw.cast(np.random.default_rng([7, n])).kind for n in range(400)]
  for kind, share in KINDS.items():
    assert drawn.count(kind) / 400 == pytest.approx(
      share, abs=4 * (share * (1 - share) / 400) ** 0.5
    )


def test_held_out_combinations_are_shown_in_their_split_alone():
  bodies = lambda split: [
    (Body(**body), truth.novel)
    for n in range(30)
    for truth in [generate(ROOM, split, 0, n)[2]]
    for body in truth.shots[0].scene['bodies']
  ]
  for split in ('train', 'validation', 'test'):
    assert not any(scene.held_out(body) for body, _ in bodies(split))
  assert all(scene.held_out(body) == (novel == 'triple') for body, novel in bodies('novel'))
  every = [
    Body(shape, colour, material, 0.1, (0, 0), (0, 0))
    for shape in scene.SHAPES for colour in COLOURS for material in scene.MATERIALS
  ]  # fmt: skip
  assert (sum(map(scene.held_out, every)), len(every)) == (9, 96)
  for part in ('shape', 'colour', 'material'):  # each part of a held-out triple is trained on
    assert len({getattr(b, part) for b in every if not scene.held_out(b)}) == len(
      {getattr(b, part) for b in every}
    )


@each_kind
def test_every_kind_has_novel_clips(kind):
  config = WorldConfig(17, 8.0, 16, 16, 8000, kind=kind)
  novel = {generate(config, 'novel', 0, number)[2].novel for number in range(3)}
  assert novel == set(draw.NOVELTIES[: 3 if kind == 'room' else 2])


def test_held_out_looks_and_events_are_shown_in_their_split_alone():
  body = Body('ball', 'red', 'wood', 0.1, (0.5, 0.5), (0.0, 0.0))
  looks = {
    (camera, style): scene.held_out_look(
      dataclasses.replace(alone(body, style=style), camera=Camera(camera))
    )
    for camera in scene.CAMERAS for style in scene.STYLES
  }  # fmt: skip
  assert (sum(looks.values()), len(looks)) == (6, 35)
  for axis in (0, 1):
    trained = {look[axis] for look, out in looks.items() if not out}
    assert trained == {look[axis] for look in looks}
  seen = set()
  for split in ('train', 'novel'):
    for n in range(24):
      (shot, *_), novel = (truth := generate(ROOM, split, 0, n)[2]).shots, truth.novel
      look = shot.scene['camera']['kind'], shot.scene['style']
      assert looks[look] == (novel == 'look')
      kinds = [c['other'] if isinstance(c['other'], str) else 'body' for c in shot.contacts[:2]]
      assert (kinds in (['left', 'body'], ['right', 'body'])) == (novel == 'events')
      seen.add(novel)
  assert seen == {'', *draw.NOVELTIES}


def test_truth_tells_where_bodies_are_and_whether_they_are_seen(made):
  for _, _, truth in made:
    for shot in truth.shots:
      frames, count = len(shot.times_s), len(shot.scene['bodies'])
      position, view = np.array(shot.position).reshape(frames, count, 2), np.array(shot.view)
      off = np.abs(position - view[:, None, :2]) * view[:, None, 2:]
      np.testing.assert_array_equal(
        np.array(shot.visible).reshape(frames, count), (off <= 0.5).all(axis=-1)
      )
      onsets = [onset['time_s'] for onset in shot.onsets]
      assert onsets == sorted(onsets) and {c['time_s'] for c in shot.contacts} >= set(onsets)
      assert all(shot.times_s[0] <= t for t in onsets)


def test_a_cut_changes_the_picture_where_it_is_declared_and_the_cast_stays():
  found = 0
  for number in range(40):
    clip, _, truth = generate(ROOM, 'train', 3, number)
    cast = [
      [(b['colour'], b['shape'], b['material']) for b in s.scene['bodies']] for s in truth.shots
    ]
    assert all(names == cast[0] for names in cast)
    change = np.abs(np.diff(clip.video.astype(float), axis=0)).mean(axis=(1, 2, 3))
    for cut in truth.cuts:
      assert cut % 8 == 1 and change[cut - 1] > 3 * np.median(change)
      found += 1
  assert found >= 4


def test_more_bodies_come_when_more_may():
  config = dataclasses.replace(ROOM, most=4)
  counts = [len(generate(config, 'train', 0, n)[2].shots[0].scene['bodies']) for n in range(24)]
  assert max(counts) == 4 and min(counts) == 1
