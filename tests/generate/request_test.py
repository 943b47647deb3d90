import dataclasses
from types import SimpleNamespace

import av
import numpy as np
import pytest
import tiny
from clips import noise, scene
from tiny import FPS, RATE_HZ, refused

from sorajax.clip import Clip
from sorajax.codec import codec as codec_lib
from sorajax.generate import inputs
from sorajax.generate.request import (
  LARGEST_SEED,
  LONGEST_PROMPT,
  REMIX,
  Request,
  finish,
  plan,
)
from sorajax.generate.sampler import Sampler
from sorajax.geometry import samples_of
from sorajax.media import writer
from sorajax.media.drawings import drawn
from sorajax.tasks import capabilities

KNOWN = tuple(capabilities.TASKS)
KEYFRAMED = {
  'keyframes': {
    'keyframes': scene(0, 1, 8, 12), 'keyframe_paths': ['a.png'], 'keyframe_s': [0.0]
  }
}  # fmt: skip
GIVEN = Clip(scene(3, 20, 8, 12), noise(3, samples_of(20, FPS, RATE_HZ)), FPS, RATE_HZ)


def request(task: str = 'text_to_clip', **changes) -> Request:
  given = {} if task in ('text_to_clip', 'keyframes') else {'given': GIVEN}
  base = {'prompt': 'a hare', 'seed': 0, 'seconds': 2.0, 'fps': FPS, 'height': 8, 'width': 12}
  given_s = {'given_s': 1.0} if task == 'extend' else {}
  return Request(**{**base, 'task': task, **given, **given_s, **changes})


def planned(task: str = 'text_to_clip', **changes):
  return plan(request(task, **changes), tiny.codec(), KNOWN)


def made_of(p) -> Clip:
  """What a codec answers to the plan's latents, without any network between."""
  return tiny.codec().decode(p.latents)


@pytest.mark.parametrize('fps', [7.0, 8.0, 23.976, 24.0])
@pytest.mark.parametrize('seconds', [0.05, 0.1, 0.9, 1.0, 1.37, 2.0, 3.21])
def test_a_clip_has_exactly_the_asked_duration(seconds, fps):
  frames = round(seconds * fps)
  if not frames:
    with refused('is no clip'):
      planned(seconds=seconds, fps=fps)
    return
  p = planned(seconds=seconds, fps=fps)
  clip = finish(p, made_of(p))
  assert clip.video.shape == (frames, 8, 12, 3) and clip.fps == fps
  assert len(clip.audio) == round(frames / fps * RATE_HZ)
  assert (
    p.latents.frames >= frames
  )  # made longer where the codec needs it, and by less than a patch
  assert p.latents.frames - frames < tiny.CODEC.stride[0]


def test_nothing_is_given_but_the_prompt():
  p = planned()
  assert not p.latents.video.any() and not p.latents.audio.any()
  assert not any(mask.any() for mask in p.given.values())


@pytest.mark.parametrize('task', [t for t in KNOWN if t not in ('text_to_clip', 'keyframes')])
def test_what_is_given_holds_the_latents_of_the_input_and_the_rest_is_blank(task):
  p, codec = planned(task), tiny.codec()
  source = codec.encode(Clip(GIVEN.video[:17], GIVEN.audio[: p.latents.samples], FPS, RATE_HZ))
  assert any(mask.any() for mask in p.given.values())
  for m, mask in p.given.items():
    np.testing.assert_array_equal(getattr(p.latents, m)[mask], getattr(source, m)[mask])
    assert not getattr(p.latents, m)[~mask].any()


@pytest.mark.parametrize('task', [t for t in KNOWN if t not in ('text_to_clip', 'keyframes')])
def test_a_task_without_its_input_is_refused(task):
  with refused(f'the task {task} needs something to start from; add --input=FILE'):
    planned(task, given=None)


def with_keyframes(*moments: float) -> dict:
  paths = [f'{i}.png' for i in range(len(moments))]
  return {'keyframes': GIVEN.video[: len(moments)], 'keyframe_paths': paths, 'keyframe_s': moments}


@pytest.mark.parametrize('task', KNOWN)
def test_keyframes_lie_beside_what_a_task_gives(task):
  codec = tiny.codec()
  p = planned(task, **with_keyframes(0.5, 2.0, 0.0))
  plain = planned('text_to_clip' if task == 'keyframes' else task)
  assert p.latents.keyframe_at == (4, 15, 0) and p.given.pop('keyframes').tolist() == [True] * 3
  for i in range(3):
    wanted = codec.encode_picture(GIVEN.video[[i]])
    np.testing.assert_array_equal(p.latents.keyframes[[i]], wanted)
  assert list(p.given) == list(plain.given)
  for m, mask in plain.given.items():
    np.testing.assert_array_equal(p.given[m], mask)
    np.testing.assert_array_equal(getattr(p.latents, m), getattr(plain.latents, m))
  assert p.latents.video_tokens == plain.latents.video_tokens + p.latents.keyframes[..., 0].size
  assert finish(p, made_of(p)).video.shape == (16, 8, 12, 3)


def test_keyframes_that_cannot_be_met_are_refused():
  with refused(r'--keyframe=1.png@2.5 lies outside of a clip of 2 s; give 0 to 2'):
    planned(**with_keyframes(1.0, 2.5))
  with refused('the task keyframes needs pictures; add --keyframe=IMAGE@SECONDS'):
    planned('keyframes', given=None)
  with refused("has not learned the task 'keyframes'; it knows text_to_clip"):
    plan(request(**with_keyframes(1.0)), tiny.codec(), ('text_to_clip',))


@pytest.mark.parametrize('text', ['a.png', '@1', 'a.png@', 'a.png@soon', 'a.png@inf', ''])
def test_a_keyframe_says_when(text):
  assert inputs.parse_keyframe('b@c.png@1.5') == ('b@c.png', 1.5)
  with refused(f'--keyframe={text} is not IMAGE@SECONDS; write for instance --keyframe=last.png@4'):
    inputs.parse_keyframe(text)


@pytest.mark.parametrize('task, m', [('video_to_audio', 'video'), ('audio_to_video', 'audio')])
def test_a_wholly_given_stream_is_kept_as_it_came(task, m):
  """Bit for bit, though the codec loses something."""
  p = planned(task)
  clip, other = finish(p, made_of(p)), {'video': 'audio', 'audio': 'video'}[m]
  np.testing.assert_array_equal(getattr(clip, m), getattr(GIVEN, m)[: len(getattr(clip, m))])
  np.testing.assert_array_equal(
    getattr(clip, other), getattr(made_of(p), other)[: len(getattr(clip, other))]
  )
  assert (len(clip.video), len(clip.audio)) == (16, 2 * RATE_HZ)


def test_a_short_input_stands_still_and_falls_silent():
  short = Clip(GIVEN.video[:5], GIVEN.audio[:5000], FPS, RATE_HZ)
  p = planned('video_to_audio', given=short)
  clip = finish(p, made_of(p))
  assert (clip.video[5:] == GIVEN.video[4]).all() and len(clip.video) == 16
  p = planned('audio_to_video', given=short)
  clip = finish(p, made_of(p))
  np.testing.assert_array_equal(clip.audio[:5000], short.audio)
  assert not clip.audio[5000:].any() and len(clip.audio) == 16_000


def test_sound_alone_may_be_given_for_its_picture():
  sound = dataclasses.replace(GIVEN, video=GIVEN.video[:0])
  p = planned('audio_to_video', given=sound)
  np.testing.assert_array_equal(finish(p, made_of(p)).audio, GIVEN.audio[:16_000])


def test_a_given_sound_keeps_its_pitch_where_the_codec_plays_at_another_rate():
  p = planned('audio_to_video')
  played = dataclasses.replace(made_of(p), audio=noise(1, 3 * 16_000), sample_rate_hz=3 * RATE_HZ)
  clip = finish(p, played)
  assert clip.sample_rate_hz == RATE_HZ
  np.testing.assert_array_equal(clip.audio, GIVEN.audio[:16_000])
  finer = dataclasses.replace(GIVEN, audio=noise(2, 3 * 20_000), sample_rate_hz=3 * RATE_HZ)
  p = planned('audio_to_video', given_sound=finer)
  clip = finish(p, played)
  assert clip.sample_rate_hz == 3 * RATE_HZ
  np.testing.assert_array_equal(clip.audio, finer.audio[: 3 * 16_000])


def test_a_sound_is_read_as_finely_as_the_codec_plays(tmp_path):
  path, codec = str(tmp_path / 'a.wav'), tiny.codec()
  tone = np.sin(2 * np.pi * 440 * np.arange(48_000) / 48_000).astype(np.float32)[:, None]
  writer.write(path, Clip(np.zeros((0, 8, 12, 3), np.uint8), tone, FPS, 48_000))
  plain = inputs.of(request('audio_to_video', given=None, given_path=path), codec)
  assert plain.given.sample_rate_hz == RATE_HZ and plain.given_sound is None
  plays = SimpleNamespace(geometry=codec.geometry, audio=SimpleNamespace(output_rate_hz=48_000))
  found = inputs.of(request('audio_to_video', given=None, given_path=path), plays)
  assert found.given.sample_rate_hz == RATE_HZ and found.given_sound.sample_rate_hz == 48_000
  np.testing.assert_allclose(found.given_sound.audio[:, 0], tone[:, 0], atol=1e-3)


def test_of_a_file_no_more_is_read_than_the_clip_takes(tmp_path):
  path, codec = str(tmp_path / 'a.mp4'), tiny.codec()
  film = Clip(scene(0, 80, 16, 16), noise(0, 80_000), FPS, RATE_HZ)
  writer.write(path, film)
  asked = request(
    'extend', given=None, given_path=path, reference_path=path, keyframe_paths=[path],
    keyframe_s=[0.0],
  )  # fmt: skip
  found, whole = inputs.of(asked, codec), inputs.read(path, codec.geometry.audio, (8, 12), FPS)
  frames = codec.geometry.video.frames_at_least(asked.frames)
  assert len(whole.video) == 80 > frames == len(found.given.video) == len(found.reference.video)
  np.testing.assert_array_equal(found.given.video, whole.video[:frames])
  np.testing.assert_array_equal(found.given.audio, whole.audio[: len(found.given.audio)])
  assert found.given.seconds == len(found.given.audio) / RATE_HZ == frames / FPS
  assert found.keyframes.shape == (1, 8, 12, 3)
  longer = dataclasses.replace(asked, seconds=20.0)
  assert len(inputs.of(longer, codec).given.video) == 80


@pytest.mark.parametrize('kind', ['wav', 'flac', 'mka', 'aiff', 'mp4', 'mp3', 'aac', 'avi'])
def test_a_file_without_a_picture_is_a_sound_whatever_its_name(tmp_path, kind):
  path = str(tmp_path / f'a.{kind}')
  with av.open(path, 'w', format='adts' if kind == 'aac' else None) as container:
    codec = {'flac': 'flac', 'mka': 'flac', 'mp4': 'aac', 'aiff': 'pcm_s16be', 'avi': 'mp3'}
    codec |= {name: name for name in ('mp3', 'aac')}
    track = container.add_stream(codec.get(kind, 'pcm_s16le'), rate=16_000, layout='mono')
    samples = (1000 * noise(0, 16_000)).astype(np.int16).reshape(1, -1)
    frame = av.AudioFrame.from_ndarray(samples, 's16', 'mono')
    frame.sample_rate, frame.pts = 16_000, 0
    container.mux(track.encode(frame))
    container.mux(track.encode(None))
  clip = inputs.read(path, tiny.codec().geometry.audio, (8, 12), FPS)
  assert clip.video.shape == (0, 8, 12, 3)
  assert clip.seconds == pytest.approx(1.0, abs=0.15)


def test_what_clips_start_from_is_coded_once_for_all_prompts():
  class Counting(codec_lib.Codec):
    def encode(self, clip):
      coded.append(clip)
      return super().encode(clip)

  coded: list[Clip] = []
  codec = Counting(*(getattr(tiny.codec(), f.name) for f in dataclasses.fields(codec_lib.Codec)))
  settings = SimpleNamespace(
    train=SimpleNamespace(tasks=dict.fromkeys(KNOWN, 1.0)), sample=SimpleNamespace(image_crf=0)
  )
  requests = [request('extend', seed=seed, prompt=f'hare {seed}') for seed in range(5)]
  batches = Sampler(settings, None, codec, batch=2).batches(requests)
  assert [[number for number, _ in rows] for rows in batches] == [[0, 1], [2, 3], [4]]
  asked = [stages[-1].request for rows in batches for _, stages in rows]
  assert [(r.prompt, r.seed) for r in asked] == [(r.prompt, r.seed) for r in requests]
  assert len(coded) == 1
  Sampler(settings, None, codec, batch=2).batches([*requests, request('extend', given_s=0.5)])
  assert len(coded) == 3


@pytest.mark.parametrize('task', ['text_to_clip', 'keyframes', 'extend'])
def test_what_is_given_and_not_used_is_refused(task):
  words = {'extend': 'less than one latent'}.get(task, f'{task} takes nothing of a.mp4')
  with refused(words):
    planned(task, given=GIVEN, given_path='a.mp4', given_s=1e-3, **KEYFRAMED.get(task, {}))


SILENT = dataclasses.replace(GIVEN, audio=GIVEN.audio[:0])
SOUND = dataclasses.replace(GIVEN, video=GIVEN.video[:0])


@pytest.mark.parametrize(
  'given, begins', [(GIVEN, ['audio', 'video']), (SILENT, ['video']), (SOUND, ['audio'])]
)
def test_a_remix_begins_with_what_its_input_has_and_keeps_nothing_of_it(given, begins):
  p = planned(REMIX, given=given, strength=0.6)
  assert p.begins == dict.fromkeys(begins, 0.6)
  assert not any(mask.any() for mask in p.given.values())
  cut = GIVEN.video[: p.latents.frames], GIVEN.audio[: p.latents.samples]
  source = tiny.codec().encode(Clip(*cut, FPS, RATE_HZ))
  for m in ('video', 'audio'):
    wanted = getattr(source, m) if m in begins else 0 * getattr(source, m)
    np.testing.assert_allclose(getattr(p.latents, m), wanted, atol=1e-5)


def test_remixes_of_another_strength_are_not_sampled_together():
  settings = SimpleNamespace(
    train=SimpleNamespace(tasks={'text_to_clip': 1.0}), sample=SimpleNamespace(image_crf=0)
  )
  requests = [request(REMIX, strength=strength) for strength in (0.5, 0.6, 0.5)]
  batches = Sampler(settings, None, tiny.codec(), batch=4).batches([*requests, request()])
  assert [[number for number, _ in rows] for rows in batches] == [[0, 2], [1], [3]]


def test_requests_that_hold_what_is_given_otherwise_are_not_sampled_together():
  settings = SimpleNamespace(
    train=SimpleNamespace(tasks=dict.fromkeys(KNOWN, 1.0)), sample=SimpleNamespace(image_crf=0)
  )
  requests = [request('extend', hold=hold) for hold in (0.5, 1.0, 0.5)]
  batches = Sampler(settings, None, tiny.codec(), batch=4).batches(requests)
  assert [[number for number, _ in rows] for rows in batches] == [[0, 2], [1]]


@pytest.mark.parametrize('m', ['video', 'audio'])
def test_a_stream_that_is_held_loosely_is_what_the_model_made_of_it(m):
  task = {'video': 'video_to_audio', 'audio': 'audio_to_video'}[m]
  firm, loose = (planned(task, hold=hold) for hold in (1.0, 0.9))
  made = made_of(firm)
  assert firm.keeps(m) and not loose.keeps(m)
  np.testing.assert_array_equal(
    getattr(finish(loose, made), m), getattr(finish(planned(), made), m)
  )


@pytest.mark.parametrize('hold', [0.0, 1.1, -0.5, float('nan')])
def test_holds_that_hold_nothing_or_more_than_all_are_refused(hold):
  with refused(f'hold {hold} of what is given; give more than 0 and at most 1'):
    planned('extend', hold=hold)


@pytest.mark.parametrize('task', ['text_to_clip', REMIX])
def test_nothing_can_be_held_where_nothing_is_given(task):
  with refused(f'{task} is given nothing that could be held; leave out --hold'):
    planned(task, hold=0.5, strength=0.7)
  assert planned(task, hold=0.5, strength=0.7, **with_keyframes(1.0)).request.hold == 0.5


@pytest.mark.parametrize('strength', [0.0, 1.0, -0.5, float('nan')])
def test_strengths_that_leave_no_remix_are_refused(strength):
  with refused(f'strength {strength} of a remix; give more than 0 and less than 1'):
    planned(REMIX, strength=strength)


@pytest.mark.parametrize('seed', [0, 1, LARGEST_SEED])
def test_seeds_in_range_are_taken(seed):
  assert planned(seed=seed).request.seed == seed


@pytest.mark.parametrize('seed', [-1, LARGEST_SEED + 1])
def test_seeds_out_of_range_are_refused(seed):
  with refused(f'seed {seed} is out of range; give 0 to 4294967295'):
    planned(seed=seed)


@pytest.mark.parametrize('seconds', [0.0, -1.0, float('nan'), float('inf')])
def test_durations_that_are_no_clip_are_refused(seconds):
  with refused('is no clip; ask for at least one frame'):
    planned(seconds=seconds)


@pytest.mark.parametrize('given_s', [0.0, -1.0, 2.0, 5.0])
def test_extend_makes_more_than_it_is_given(given_s):
  with refused(f'extend is given {given_s} s of a clip of 2.0 s; ask for more --seconds'):
    planned('extend', given_s=given_s)


def test_extend_is_not_given_more_than_there_is():
  with refused(r'2.6 s are to be given and the input has 2.50 s'):
    planned('extend', seconds=4.0, given_s=2.6)
  p = planned('extend', seconds=4.0, given_s=2.5)
  assert p.given['video'][:10].all() and not p.given['video'][11:].any()


@pytest.mark.parametrize('given_s', [0.3, 1.0, 1.6])
def test_extend_goes_on_from_the_very_seconds_it_is_given(given_s):
  p, codec = planned('extend', given_s=given_s), tiny.codec()
  layout = codec.geometry.layout(p.latents)
  assert (p.given['video'][:, 0, 0] == (layout.video_s[:, 1] <= given_s + 1e-6)).all()
  assert (p.given['audio'] == (layout.audio_s[:, 1] <= given_s + 1e-6)).all()


def test_an_untrained_task_is_refused_with_those_that_are_known():
  with refused("not learned the task 'extend'; it knows text_to_clip, image_to_clip$"):
    plan(request('extend'), tiny.codec(), ('text_to_clip', 'image_to_clip'))


def test_sizes_and_prompts_that_cannot_be_met_are_refused():
  with refused('do not divide by 4×4; try 12×16'):
    planned(height=10, width=15)
  with refused(f'the prompt has {LONGEST_PROMPT + 1} characters; give at most {LONGEST_PROMPT}'):
    planned(prompt='a' * (LONGEST_PROMPT + 1))
  with refused('the sound has 16000 Hz and the codec 8000 Hz'):
    planned('video_to_audio', given=dataclasses.replace(GIVEN, sample_rate_hz=16_000))


@pytest.mark.parametrize('task', [t for t in KNOWN if t != 'keyframes'])
def test_a_clip_of_any_task_may_be_made_after_another(task):
  p, plain, codec = planned(task, reference=GIVEN, reference_as='grey'), planned(task), tiny.codec()
  wanted = codec.encode_picture(drawn(GIVEN.video[: p.latents.frames], 'grey'))
  np.testing.assert_array_equal(p.latents.reference, wanted)
  for m in p.given:
    np.testing.assert_array_equal(getattr(p.latents, m), getattr(plain.latents, m))
    np.testing.assert_array_equal(p.given[m], plain.given[m])
  np.testing.assert_array_equal(finish(p, made_of(p)).video, finish(plain, made_of(plain)).video)


@pytest.mark.parametrize('frames, latent_frames', [(1, 1), (2, 1), (3, 2), (6, 3), (99, 9)])
def test_a_short_reference_stands_for_as_many_frames_as_it_has(frames, latent_frames):
  after = dataclasses.replace(GIVEN, video=np.resize(GIVEN.video, (frames, 8, 12, 3)))
  assert len(planned(reference=after).latents.reference) == latent_frames


def test_a_reference_that_does_not_fit_is_refused_by_its_name():
  with refused('hare.mp4 as a reference: 4×6 pixels do not divide by 4×4; try 4×8'):
    planned(reference=GIVEN, reference_path='hare.mp4', reference_smaller=2)
  with refused('hare.mp4 as a reference: 8×12 pixels cannot be made 3 times smaller'):
    planned(reference=GIVEN, reference_path='hare.mp4', reference_smaller=3)


@pytest.mark.parametrize('peak', [0.0, 0.4, 1.0, 4.5])
def test_sound_that_is_too_loud_is_made_softer_and_keeps_its_shape(peak):
  p, wave = planned(), np.resize(np.float32([0, 1, -0.3, 0.6]), (3 * RATE_HZ, 1))
  clip = finish(p, dataclasses.replace(made_of(p), audio=peak * wave))
  wanted = min(peak, 1.0) * wave[: len(clip.audio)]
  np.testing.assert_allclose(clip.audio, wanted, atol=1e-6)
