"""AUDIT/audit.html: what is wrong with the photographs, worst first, on one page that needs no network."""

import base64
from collections import Counter
from collections.abc import Iterator, Sequence
from html import escape
from io import BytesIO
from pathlib import Path
from string import Template

import cv2
from PIL import Image

from geocamnet import __version__
from geocamnet.errors import DataError
from geocamnet.images import written_aside
from geocamnet.train.audit.evidence import SEVERITIES, Evidence, Finding
from geocamnet.train.audit.look import Look
from geocamnet.train.originals import Originals, read_original

PAGE = "audit.html"
MOST_PICTURE_BYTES = 5_000_000  # of pictures in the page; a third more once written as text
MOST_GROUPS = 6  # groups of photographs shown of a finding
THUMB_PX = 240  # long side of a picture
_WORDS = {
    "error": "Errors: figures made with these photographs will be wrong",
    "warning": "Warnings: figures may be wrong",
    "note": "Notes",
}


def write_page(originals: Originals, out: Path, seen: Evidence, findings: Sequence[Finding]) -> None:
    """Write AUDIT/audit.html, with small pictures in it.

    Findings are told worst first. Pictures stop at `MOST_PICTURE_BYTES`; frames and bars are outlined in red. The
    page says nothing of the day or the machine: the same photographs make the same page.

    Args:
        originals: what RAW holds.
        out: the folder of the audit.
        seen: what the findings are made of.
        findings: worst first.

    Raises:
        DataError: it can't be written.
    """
    pictures = _Pictures(originals, {look.path: look for look in seen.looks})
    counts = Counter(one.severity for one in findings)
    parts = []
    for severity in SEVERITIES:
        told = [_finding(one, pictures) for one in findings if one.severity == severity]
        parts += [f'<h2 class="{severity}">{_WORDS[severity]}</h2>', *told] if told else []
    copies = sum(len(group) - 1 for group in seen.copies.exact)
    text = _PAGE.substitute(
        title=escape(f"Audit: {len(seen.photographs)} photographs"),
        lead=f"<strong>{len(seen.photographs):,}</strong> photographs, {copies:,} of them exact copies; "
        f"{len(seen.unread):,} file(s) can't be read. <strong>{counts['error']} error(s), {counts['warning']} "
        f"warning(s)</strong>, {counts['note']} note(s).",
        verdict="" if counts["error"] or counts["warning"] else "<p>Nothing was found that makes figures wrong.</p>",
        contents="".join(
            f'<li class="{one.severity}"><a href="#{escape(one.kind)}">{escape(one.title)}</a></li>' for one in findings
        ),
        findings="".join(parts),
        notes="".join(f"<li>{escape(_shortened(note))}</li>" for note in seen.notes),
        version=escape(__version__),
    )
    with written_aside(out / PAGE) as aside:
        aside.write_text(text, encoding="utf-8", errors="replace")


def _finding(one: Finding, pictures: "_Pictures") -> str:
    shown = "".join(pictures.group(group) for group in one.groups[:MOST_GROUPS])
    more = len(one.groups) - MOST_GROUPS
    actions = Counter(line.action for line in one.lines if line.action)
    asked = ", ".join(f"{action} {count}" for action, count in sorted(actions.items()))
    parts = [
        f'<section id="{escape(one.kind)}"><h3>{escape(one.title)}</h3>',
        f"<p>{escape(one.meaning)}</p><p><b>What to do:</b> {escape(one.advice)}</p>",
        _table(one.listed) if one.listed else "",
        shown,
        f"<p class=note>{more:,} more like these: audit.csv.</p>" if more > 0 else "",
        f"<p class=note>In audit.csv as <code>{escape(one.kind)}</code>, {len(one.lines):,} line(s)"
        f"{f'; proposed: {asked}' if asked else ''}.</p>"
        if one.lines
        else "",
        "</section>",
    ]
    return "".join(parts)


def _table(rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{escape(cell)}</th>" for cell in rows[0])
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows[1:])
    return f"<div class=wide><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"


def _shortened(note: str) -> str:
    return note if len(note) <= 600 else note[:600] + " …"


class _Pictures:
    # Pictures for the page, until there are enough of them.
    def __init__(self, originals: Originals, looks: dict[str, Look]) -> None:
        self.originals, self.looks, self.left = originals, looks, MOST_PICTURE_BYTES

    def group(self, members: Sequence[tuple[str, str]]) -> str:
        return f"<div class=pictures>{''.join(self._figures(members))}</div>"

    def _figures(self, members: Sequence[tuple[str, str]]) -> Iterator[str]:
        for path, caption in members:
            told = f"<figcaption>{escape(path)}<br><b>{escape(caption)}</b></figcaption>"
            data = self._jpeg(path) if self.left > 0 else b""
            self.left -= len(data)
            text = base64.b64encode(data).decode("ascii")
            picture = f'<img src="data:image/jpeg;base64,{text}" alt="{escape(path)}">' if data else ""
            yield f"<figure>{picture}{told}</figure>"

    def _jpeg(self, path: str) -> bytes:
        try:
            image = read_original(self.originals.raw, self.originals.files[path])
        except DataError:
            return b""  # it was there when it was looked at; the caption is left
        look = self.looks.get(path)
        scale = THUMB_PX / max(image.shape[:2])
        size_wh = max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale))
        method = cv2.INTER_AREA if scale < 1 else cv2.INTER_NEAREST
        small = cv2.resize(image, size_wh, interpolation=method)
        if look:
            left, top, right, bottom = look.edges_ltrb
            boxes = [(left, top, look.width_px - left - right, look.height_px - top - bottom)] * any(look.edges_ltrb)
            for x, y, w, h in (*boxes, *look.bars):
                corner = round(x * scale), round(y * scale)
                cv2.rectangle(small, corner, (round((x + w) * scale) - 1, round((y + h) * scale) - 1), (230, 30, 30), 1)
        stream = BytesIO()
        Image.fromarray(small).save(stream, "JPEG", quality=72)
        return stream.getvalue()


_PAGE = Template("""<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<style>
:root { color-scheme: light dark; --ink: #1d2126; --paper: #fdfdfc; --line: #d5d8dc; --soft: #5c646e; --link: #0b5cad;
  --error: #b3261e; --warning: #9a5b00; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e7e9ec; --paper: #16191d; --line: #3a4048; --soft: #a3abb5; --link: #7db9f5; --error: #ff8a80;
    --warning: #f0b45c; }
}
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 64rem;
  margin: 0 auto; padding: 1rem; overflow-wrap: anywhere; }
a { color: var(--link); }
h2 { margin-top: 2.2em; border-bottom: 2px solid; } h2.error { color: var(--error); }
h2.warning { color: var(--warning); }
li.error::marker { content: "✕ "; color: var(--error); } li.warning::marker { content: "! "; color: var(--warning); }
li.note::marker { content: "· "; }
h3 { margin-top: 1.8em; }
p.note { color: var(--soft); font-size: .85rem; } .wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .3em .7em; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top; }
th, td:not(:first-child) { overflow-wrap: normal; } td:first-child { min-width: 9rem; }
thead th { font-size: .85rem; color: var(--soft); }
.pictures { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 13rem), 1fr)); gap: .8rem;
  border-left: 3px solid var(--line); padding-left: .8rem; margin: 1rem 0; }
figure { margin: 0; } figure img { width: 100%; height: auto; } figcaption { font-size: .8rem; color: var(--soft); }
figcaption b { color: var(--ink); }
</style></head><body>
<h1>What is wrong with these photographs</h1>
<p>$lead</p>$verdict
<ul>$contents</ul>
$findings
<h2>How the folder was read</h2>
<ul>$notes</ul>
<p>Nothing was changed. <code>audit.csv</code> holds a line for every photograph and finding; delete lines or empty
their action, then <code>geocamnet prepare RAW DATA --audit AUDIT</code> carries out the rest.</p>
<p class=note>geocamnet $version</p>
</body></html>
""")
