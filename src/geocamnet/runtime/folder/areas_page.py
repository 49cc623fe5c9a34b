"""``areas.html``: areas, intervals, point counts and pictures of a folder on one page that needs no network."""

import base64
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from string import Template
from urllib.parse import quote

from geocamnet.card import ModelCard
from geocamnet.images import written_aside
from geocamnet.runtime.folder.areas import NO_CLASS, THRESHOLD
from geocamnet.runtime.folder.out_folder import AREAS, PAGE, SKIPPED, TABLE
from geocamnet.runtime.folder.series import LEAST_UNITS, Section, Share
from geocamnet.runtime.folder.series_tables import CLASSES, SECTIONS, count_units
from geocamnet.runtime.porosity import DyeColour

MOST_PICTURE_BYTES = 6_000_000  # of pictures in the page; a third more once written as text
MOST_DETAILED = 200  # sections told class by class; the tables hold all
MOST_LISTED = 2000  # sections that have a line, and likewise photographs that are listed
PICTURES_PER_SECTION = 3


@dataclass(frozen=True)
class Picture:
    """The pictures of one photograph.

    Attributes:
        section: the photograph belongs to.
        image: its path below the source.
        label: what the model says of it.
        areas: file with its classes painted.
        heatmap: file with its heatmap.
        refused: the model names no class.
    """

    section: str
    image: str
    label: str
    areas: Path
    heatmap: Path
    refused: bool


@dataclass(frozen=True)
class Page:
    """What the page is made of.

    Attributes:
        card: of the model.
        um_per_px: micrometres a pixel, None where unknown.
        sections_told_by: how sections were recognised, in words.
        count_refused, points, seed: as for `folder.predict_folder`.
        sections, series: what photographs add up to.
        pictures: of every photograph, in the order of their names.
        skipped: photographs that could not be predicted, and why.
        gone: photographs of earlier calls that are in the source no longer, and not in all of this.
        version: of this program.
    """

    card: ModelCard
    um_per_px: float | None
    sections_told_by: str
    count_refused: bool
    points: int
    seed: int
    sections: Sequence[Section]
    series: Section
    pictures: Sequence[Picture]
    skipped: Sequence[tuple[str, str]]
    gone: int
    version: str


def write_page(out: Path, page: Page) -> None:
    """Write OUT/areas.html.

    Pictures are put into the page itself, the first of every section before the second of any, until they are
    `MOST_PICTURE_BYTES`; those beyond are linked, and so are the heatmaps: links that work where OUT lies as it was
    written. The page says nothing of the day or the machine, so the same results make the same page.

    Raises:
        DataError: it can't be written.
    """
    detailed = page.sections[:MOST_DETAILED]
    shown = _chosen(page.pictures, [one.name for one in detailed])
    text = _PAGE.substitute(
        title=escape(f"Areas: {page.series.photographs} photographs"),
        lead=_lead(page),
        series=_class_table(page, page.series) + _porosity_words(page, page.series),
        sections=_sections_table(page),
        details="".join(_details(out, page, place, shown[one.name]) for place, one in enumerate(detailed)),
        details_note=_more(len(page.sections) - MOST_DETAILED, "thin section(s)", CLASSES),
        not_named=_not_named(out, page),
        method="".join(f"<li>{line}</li>" for line in _method(page)),
        version=escape(page.version),
    )
    with written_aside(out / PAGE) as aside:
        aside.write_text(text, encoding="utf-8")


def _lead(page: Page) -> str:
    series, refused = page.series, sum(page.series.refusals.values())
    also = " and are counted all the same (--count-refused)" if page.count_refused else " and are not counted"
    parts = [
        f"<strong>{series.photographs}</strong> photographs of <strong>{len(page.sections)}</strong> thin section(s), "
        f"measured by the model <strong>{escape(page.card.name)}</strong>.",
        f"<strong>{refused}</strong> of them the model refused to name{also}." if refused else "",
        f"<strong>{len(page.skipped)}</strong> could not be read." if page.skipped else "",
        f"<strong>{page.gone}</strong> of earlier runs are in the folder no longer and left out." if page.gone else "",
    ]
    return " ".join(part for part in parts if part)


def _class_table(page: Page, section: Section) -> str:
    if not section.shares:
        return (
            "<p>No photograph to count: the model names a class in none of them. With <code>--count-refused</code> "
            "they are summed all the same.</p>"
        )
    titles = {one.name: (one.title, one.colour_rgb) for one in page.card.classes}
    named = sorted(page.card.class_names, key=lambda name: -section.shares[name].px)  # stable: the card's order
    label_of = {name: position + 1 for position, name in enumerate(page.card.class_names)} | {NO_CLASS: 0}
    scale, counted = page.um_per_px, section.points
    refused = any(section.refusals.values()) and not page.count_refused
    head = ["Class", "Area", "95 % interval", *(["µm²"] if scale else []), "px"]
    head += ["All photographs"] if refused else []
    head += [f"Points of {counted.points}", "95 % interval"] if counted else []
    lines = []
    for name in [*(name for name in named if section.shares[name].px or section.percent_of_all[name]), NO_CLASS]:
        share, (title, colour) = section.shares[name], titles.get(name, ("no class", (225, 225, 225)))
        cells = [f"<b>{_percent(share.percent)}</b>{_bar(share.percent, colour)}", _interval(share)]
        cells += [f"{share.px * scale**2:,.0f}"] if scale else []
        cells.append(f"{share.px:,}")
        cells += [_percent(section.percent_of_all[name])] if refused else []
        if counted:
            label = label_of[name]
            between = f"{counted.low_percent[label]:.1f} to {counted.high_percent[label]:.1f} %"
            cells += [f"{counted.counts[label]} = {counted.percent[label]:.1f} %", between]
        lines.append(_row(f"{_patch(colour)}{escape(title)}", cells))
    absent = sum(not (section.shares[name].px or section.percent_of_all[name]) for name in page.card.class_names)
    units = count_units(section.units, section.unit)
    foot = "<p class=note>"
    if any(share.low_percent is not None for share in section.shares.values()):
        foot += f"Intervals from {units}."
    else:
        foot += f"No intervals: there are {units}, and {LEAST_UNITS} at least are needed."
    foot += f" {absent} more class(es) of the model cover nothing." if absent else ""
    return _table(head, lines) + foot + "</p>"


def _sections_table(page: Page) -> str:
    names = [name for name in page.card.class_names if any(one.shares and one.shares[name].px for one in page.sections)]
    if page.series.shares:
        names.sort(key=lambda name: -page.series.shares[name].px)
    titles = {one.name: one.title for one in page.card.classes}
    dyed = page.series.porosity is not None
    head = ["Thin section", "Counted", "Refused", *(escape(titles[name]) for name in names), "no class"]
    head += ["Porosity (dye)"] if dyed else []
    lines = []
    for place, one in enumerate(page.sections[:MOST_LISTED]):
        name = escape(one.name)
        link = f'<a href="#s{place}">{name}</a>' if place < MOST_DETAILED else name
        cells = [f"{one.counted} of {one.photographs}", str(sum(one.refusals.values()))]
        cells += [_share_cell(one.shares.get(name)) for name in (*names, NO_CLASS)]
        if one.porosity is not None:
            cells.append(_share_cell(one.porosity.share) if one.porosity.share else escape(one.porosity.why_not))
        lines.append(_row(link, cells))
    return _table(head, lines) + _more(len(page.sections) - MOST_LISTED, "thin section(s)", SECTIONS)


def _details(out: Path, page: Page, place: int, shown: Sequence[tuple[Picture, bool]]) -> str:
    section = page.sections[place]
    figures = "".join(_figure(out, picture, inside=inside) for picture, inside in shown)
    return (
        f'<section id="s{place}"><h3>{escape(section.name)}</h3>'
        f"<p class=note>{section.counted} of {section.photographs} photograph(s) counted, {section.total_px:,} px"
        f"{_area_um2(section.total_px, page.um_per_px)}.</p>"
        f"{_class_table(page, section)}{_porosity_words(page, section)}<div class=pictures>{figures}</div></section>"
    )


def _figure(out: Path, picture: Picture, *, inside: bool) -> str:
    name, label = escape(picture.image), escape(picture.label)
    full, heat = _href(picture.areas, out), _href(picture.heatmap, out)
    caption = f'<figcaption>{name}: {label}. <a href="{full}">areas</a>, <a href="{heat}">heatmap</a></figcaption>'
    if not inside:
        return f"<figure>{caption}</figure>"
    data = base64.b64encode(picture.areas.read_bytes()).decode("ascii")
    alt = f"{name}: photograph painted with its classes, their areas beside it"
    return f'<figure><a href="{full}"><img src="data:image/jpeg;base64,{data}" alt="{alt}"></a>{caption}</figure>'


def _chosen(pictures: Sequence[Picture], names: Sequence[str]) -> dict[str, list[tuple[Picture, bool]]]:
    """Return some photographs of each section, counted ones first, and whether their pictures go into the page."""
    of_section: dict[str, list[Picture]] = {name: [] for name in names}
    for one in sorted(pictures, key=lambda one: one.refused):
        if len(of_section.get(one.section, [None] * PICTURES_PER_SECTION)) < PICTURES_PER_SECTION:
            of_section[one.section].append(one)
    left, chosen = MOST_PICTURE_BYTES, {name: list[tuple[Picture, bool]]() for name in names}
    for turn in range(PICTURES_PER_SECTION):
        for name, members in of_section.items():
            if turn < len(members):
                file = members[turn].areas
                size = file.stat().st_size if file.is_file() else left + 1
                chosen[name].append((members[turn], size <= left))
                left -= size if size <= left else 0
    return chosen


def _not_named(out: Path, page: Page) -> str:
    refused = [one for one in page.pictures if one.refused]
    lines = [
        f'<li><a href="{_href(one.heatmap, out)}">{escape(one.image)}</a>: {escape(one.label)}</li>'
        for one in refused[:MOST_LISTED]
    ]
    text = f"<ul>{''.join(lines)}</ul>" if lines else "<p>The model named a class in every photograph.</p>"
    text += _more(len(refused) - MOST_LISTED, "photograph(s)", TABLE)
    if page.skipped:
        bad = [f"<li>{escape(name)}: {escape(why)}</li>" for name, why in page.skipped[:MOST_LISTED]]
        text += f"<h3>Could not be read</h3><ul>{''.join(bad)}</ul>"
        text += _more(len(page.skipped) - MOST_LISTED, "photograph(s)", SKIPPED)
    return text


def _method(page: Page) -> Iterator[str]:
    card, dye = page.card, DyeColour()
    yield (
        f"Model: {escape(card.name)}, {card.parameters:,} parameters, sha256 <code>{escape(card.sha256[:16])}</code>."
        f" {escape(card.limits)}"
    )
    yield (
        "Scale: not known, so areas are in pixels. Give it with --um-per-px."
        if page.um_per_px is None
        else f"Scale: {page.um_per_px:g} µm a pixel of every photograph, as given with --um-per-px."
    )
    yield escape(page.sections_told_by)
    yield (
        f"A pixel belongs to the class with the most heat there, if that is at least {THRESHOLD:g} of the model's full "
        "scale, else to no class. That is the area of the <em>evidence</em> for a class, at the coarseness of the "
        "model's maps; it is not an outline of grains. How well such areas fit outlines drawn by hand is a property of "
        "the model: see its figures (geocamnet info) or measure it on masks of your own (geocamnet evaluate)."
    )
    yield (
        "Photographs the model refuses to name are counted, as --count-refused asks."
        if page.count_refused
        else "Photographs the model refuses to name are not counted: heat in them is no evidence. The column “All "
        "photographs” shows what counting them would do."
    )
    yield (
        "Areas are sums of pixels over all photographs counted, which must have one scale: a larger photograph counts "
        "for more. Intervals draw whole thin sections with replacement in a series of several, whole fields within one "
        "(cluster bootstrap: Efron and Tibshirani 1993; "
        "expanded percentiles: Hesterberg 2015, DOI 10.1080/00031305.2015.1089789), because pixels of one field show "
        "the same grains. They say how much the average would change with other fields or sections of the same kind; "
        "they do not know whether the model is right, nor whether the fields were chosen at random."
    )
    yield (
        f"Points: a square grid at a random offset over all photographs counted of a section, {page.points} wanted "
        f"(seed {page.seed}); interval of Wilson (1927), which takes points for independent and is too narrow where "
        "several fall on one grain or the fields differ."
    )
    if page.series.porosity is not None:
        yield (
            f"Porosity: pixels of the colour of blue-dyed epoxy (CIE L*a*b*: hue {dye.hue_low:g} to {dye.hue_high:g} "
            f"degrees, chroma at least {dye.chroma:g}, L* at least {dye.lightness:g}), after Ehrlich et al. (1984, DOI "
            "10.1306/212F85DF-2B24-11D7-8648000102C1865D) and Grove and Jerram (2011, DOI "
            "10.1016/j.cageo.2011.03.002). Over all photographs that can show dye, named or not; classes and pores "
            "overlap. It misses pores without dye and pores finer than two pixels, and takes blue-stained ferroan "
            "carbonate, blue minerals and a blue white balance for pores: look at the black outlines. No dye visible "
            "is not a porosity of 0."
        )
    files = ", ".join(f'<a href="{name}">{name}</a>' for name in (TABLE, AREAS, SECTIONS, CLASSES))
    yield f"All figures: {files}; class masks: masks/ with masks.json."


def _porosity_words(page: Page, section: Section) -> str:
    found = section.porosity
    if found is None:
        return ""
    seen = ", ".join(
        f"{count} {dye.value}" for dye, count in sorted(found.photographs.items(), key=lambda one: -one[1])
    )
    if found.share is None:
        return f"<p><b>Porosity by blue dye: {escape(found.why_not)}.</b> Photographs: {escape(seen)}.</p>"
    area, units = _area_um2(found.share.px, page.um_per_px), count_units(found.units, section.unit)
    interval = "no interval" if found.share.low_percent is None else f"95 % interval {_interval(found.share)}"
    return (
        f"<p><b>Porosity by blue dye: {_percent(found.share.percent)}</b>, {interval} ({units}); "
        f"{found.share.px:,} px{area} on {found.measured_on} photograph(s). Photographs: {escape(seen)}.</p>"
    )


def _share_cell(share: Share | None) -> str:
    if share is None:
        return "–"
    return _percent(share.percent) + (f"<small>{_interval(share)}</small>" if share.low_percent is not None else "")


def _percent(value: float) -> str:
    return "&lt; 0.1 %" if 0 < value < 0.05 else f"{value:.1f} %"


def _interval(share: Share) -> str:
    if share.low_percent is None or share.high_percent is None:
        return "none"
    return f"{share.low_percent:.1f} to {share.high_percent:.1f} %"


def _area_um2(px: int, um_per_px: float | None) -> str:
    return "" if um_per_px is None else f", {px * um_per_px**2:,.0f} µm²"


def _bar(percent: float, colour: tuple[int, int, int]) -> str:
    return f'<span class=bar style="width:{percent / 12.5:.2f}em;background:rgb{colour}"></span>'


def _patch(colour: tuple[int, int, int]) -> str:
    return f'<span class=patch style="background:rgb{colour}"></span>'


def _table(head: Sequence[str], lines: Sequence[str]) -> str:
    cells = "".join(f"<th>{one}</th>" for one in head)
    return f"<div class=wide><table><thead><tr>{cells}</tr></thead><tbody>{''.join(lines)}</tbody></table></div>"


def _row(first: str, cells: Sequence[str]) -> str:
    return f"<tr><th>{first}</th>{''.join(f'<td>{one}</td>' for one in cells)}</tr>"


def _more(count: int, what: str, table: str) -> str:
    return f'<p class=note>{count:,} more {what}: <a href="{table}">{table}</a>.</p>' if count > 0 else ""


def _href(file: Path, out: Path) -> str:
    return escape(quote(os.fsencode(file.relative_to(out).as_posix())))


_PAGE = Template("""<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<style>
:root { color-scheme: light dark; --ink: #1d2126; --paper: #fdfdfc; --line: #d5d8dc; --soft: #5c646e; --link: #0b5cad; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e7e9ec; --paper: #16191d; --line: #3a4048; --soft: #a3abb5; --link: #7db9f5; }
}
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 64rem;
  margin: 0 auto; padding: 1rem; overflow-wrap: anywhere; }
a { color: var(--link); }
h2 { margin-top: 2.2em; } h3 { margin-top: 1.8em; }
.note, small { color: var(--soft); font-size: .85rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; overflow-wrap: normal; }
th, td { padding: .3em .7em; border-bottom: 1px solid var(--line); text-align: right; vertical-align: top;
  white-space: nowrap; }
th:first-child { text-align: left; font-weight: normal; white-space: normal; min-width: 9em; }
thead th { font-size: .85rem; color: var(--soft); vertical-align: bottom; white-space: normal; }
td small { display: block; }
.patch { display: inline-block; width: .8em; height: .8em; margin-right: .5em; border: 1px solid var(--soft); }
.bar { display: block; height: .3em; margin-left: auto; border-radius: .1em; outline: 1px solid var(--line); }
.pictures { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 19rem), 1fr)); gap: 1rem; }
figure { margin: 0; } figure img { width: 100%; height: auto; background: #fff; }
figcaption { font-size: .85rem; color: var(--soft); }
</style></head><body>
<h1>Areas in thin section</h1>
<p>$lead</p>
<h2>The series</h2>
$series
<h2>Thin sections</h2>
$sections
<h2>Each thin section</h2>
$details
$details_note
<h2>Not named</h2>
$not_named
<h2>How this was measured</h2>
<ul>$method</ul>
<p class=note>geocamnet $version</p>
</body></html>
""")
