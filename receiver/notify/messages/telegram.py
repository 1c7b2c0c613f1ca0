"""Telegram's HTML, as Apprise's plugin takes it: a caption if the picture has one short enough, else text below it."""

import html
import re

from receiver.core.sanitize import fit, joined, web
from receiver.notify.messages import fitted_list
from receiver.notify.messages.content import Digest, Item, Line, Single

BODY_MOST = 4_000  # characters with their markup; the service takes 4,096
CAPTION_MOST = 1_000  # Apprise makes a caption of what is shorter than 1,024
_BREAK = "<br>"


def body(told: Single | Digest, *, captions: bool) -> str:
    """The whole message, its title in bold. What `captions` a picture is kept short if the task has a page."""
    if isinstance(told, Digest):
        return _digest(told)
    return _single(told, CAPTION_MOST if captions and told.page else BODY_MOST)


def headed(title: str, body: str) -> str:
    """A target's own template: its title, and its HTML."""
    return f"{_title(title)}{_BREAK}{body}"


def escape(text: str) -> str:
    """What came from outside: no markup, and no `@name` that would call somebody."""
    return html.escape(re.sub(r"@(?=[^\s\u200b])", "@\u200b", text), quote=False)


def _single(told: Single, most: int) -> str:
    prompt = fit(told.prompt, 600, escape)
    above = [
        _title(told.title),
        fit("\n".join(told.text), 1_500, _broken),
        fit(told.facts, 300, escape),
        f"<blockquote>{prompt}</blockquote>" if prompt else "",
        told.doubt,
        fit("\n".join(told.trouble), 900, _broken),
    ]
    page, ref = _link(told.page, 400), fit(told.ref, 100, escape)
    last = f'<a href="{page}">Task {ref}</a>' if page else f"Task {ref}" if ref else ""
    note = fit(told.note, 350, escape)
    room = most - sum(len(part) + len(_BREAK) for part in (*above, last, note)) - 20
    links = fitted_list.links(told, room, _picture)
    if most < BODY_MOST and links and not links[-1].startswith("<a"):
        links = []  # a caption's picture shows them all, and the task's page has the links: half of them would puzzle
    return _lines([*above, " · ".join(links), last, note])


def _digest(told: Digest) -> str:
    title, note = _title(told.title), fit(told.note, 350, escape)
    room = BODY_MOST - len(title) - len(told.total) - len(note) - 60
    return _lines([title, *fitted_list.items(told, room, _item), told.total, note])


def _picture(line: Line) -> str:
    url = _link(line.url, 2_000)
    return f'<a href="{url}">{escape(line.text)}</a>' if url else ""


def _item(item: Item) -> str:
    mark, _, rest = item.headline.partition(" ")
    url, words = _link(item.url, 1_000), fit(rest, 400, escape)
    return joined(f'{mark} <a href="{url}">{words}</a>' if url else f"{mark} {words}", item.figures)


def _title(title: str) -> str:
    return f"<b>{fit(title, 400, escape)}</b>"


def _lines(lines: list[str]) -> str:
    """One below the other; a quote stands on lines of its own without being told to."""
    text = _BREAK.join(line for line in lines if line)
    return text.replace(f"{_BREAK}<blockquote>", "<blockquote>").replace(f"</blockquote>{_BREAK}", "</blockquote>")


def _broken(text: str) -> str:
    """Lines; and between backticks a command of ours, which a touch then copies."""
    return re.sub(r"`(receiver [a-z]+ [\w -]+)`", r"<code>\1</code>", escape(text).replace("\n", _BREAK))


def _link(url: str | None, most: int) -> str | None:
    """A URL as it stands in an attribute, if it is one of the web's and short enough."""
    found = web(url)
    found = html.escape(found) if found else None
    return found if found and len(found) <= most else None
