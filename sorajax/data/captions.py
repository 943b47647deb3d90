"""Captions that lie beside a film: `<stem>.json` or `<stem>.txt`."""

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

from sorajax.errors import cannot_read

SIDECARS = ('.json', '.txt')  # the first that exists speaks


@dataclasses.dataclass(frozen=True)
class Span:
  """A caption and the stretch of the film that it describes, in seconds."""

  start_s: float
  end_s: float
  caption: str


def sidecar_of(media: Path) -> Path | None:
  """The caption file of a film or image, or None."""
  paths = (media.with_suffix(suffix) for suffix in SIDECARS)
  return next((path for path in paths if path.is_file()), None)


def load(sidecar: Path) -> tuple[Span, ...]:
  """Reads a caption file.

  A `.txt` holds one caption for the whole film. A `.json` holds {"caption": "…"} for the whole, or
  {"spans": [{"start_s": 0, "end_s": 2.5, "caption": "…"}, …]}.

  Raises:
    UserError: not UTF-8, or not of this form.
  """
  try:
    text = sidecar.read_text(encoding='utf-8-sig')  # some editors begin it with a byte order mark
    if sidecar.suffix == '.txt':
      return (_span({'caption': text}),)
    content = json.loads(text)
    return tuple(_span(item) for item in content.get('spans', [content]))
  except UnicodeDecodeError as error:
    raise cannot_read(sidecar, f'byte {error.start} is not UTF-8') from error
  except KeyError as error:
    raise cannot_read(sidecar, f'it lacks {error}') from error
  except (AttributeError, TypeError) as error:
    raise cannot_read(sidecar, 'it is not {"caption": "…"} or {"spans": […]}') from error
  except (OSError, ValueError) as error:
    raise cannot_read(sidecar, error) from error


def caption_at(spans: tuple[Span, ...], start_s: float, end_s: float) -> str:
  """The caption that covers most of a stretch, if it covers more than half of it; else ''."""

  def covered(span: Span) -> float:
    return min(span.end_s, end_s) - max(span.start_s, start_s)

  best = max(spans, key=covered, default=None)
  return best.caption if best and covered(best) > (end_s - start_s) / 2 else ''


def _span(item: dict[str, Any]) -> Span:
  """A span as the file words it, checked; without times it is the whole film."""
  start_s, end_s = float(item.get('start_s', 0.0)), float(item.get('end_s', math.inf))
  if not start_s < end_s:
    raise ValueError(f'a span goes from {start_s} s to {end_s} s')
  if not isinstance(item['caption'], str):
    raise ValueError(f'the caption {item["caption"]!r} is not text')
  item['caption'].encode()  # raises one for half of a character
  return Span(start_s, end_s, ' '.join(item['caption'].split()))
