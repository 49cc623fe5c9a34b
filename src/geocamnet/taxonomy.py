"""The 22 classes of carbonate framework: id, names, group, aliases, colour.

Ids follow the original research (and ``class1`` to ``class22`` of DeepCarbonate). A user's own classes
need no entry here: a data set's classes come from its labels, and only colour and title are looked up.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from unicodedata import normalize

from geocamnet.errors import DataError, unknown_name


@dataclass(frozen=True)
class RockClass:
    """One class of carbonate framework.

    Attributes:
        id: 1 to 22, the number of the original research; 0 for a class of the user's own.
        name: lower-case name with underscores, as written in every index and card.
        title: the name for people.
        chinese: the name in Chinese.
        group: limestone, dolostone, microbial, grains, pores_and_fractures or other; ``own`` where a user's class
            tells none.
        colour_rgb: 0 to 255 each, for legends and masks.
        aliases: other spellings met in real data sets, lower case.
    """

    id: int
    name: str
    title: str
    chinese: str
    group: str
    colour_rgb: tuple[int, int, int]
    aliases: tuple[str, ...] = ()


def _grain_size(size: str, adverb: str, *rocks: str) -> tuple[str, ...]:
    # The spellings of "coarse-crystalline dolomite" that are met, but for that one; "crystaline" is the usual slip.
    how = (size, f"{adverb} crystalline", f"{size} crystaline", f"{size} crystal", f"{size} grained")
    plain = tuple(f"{one} {rock}" for rock in rocks for one in how)
    return (*plain, *(f"{size} crystalline {rock}" for rock in rocks[1:]))


CLASSES: tuple[RockClass, ...] = (
    RockClass(
        1,
        "arenaceous",
        "Arenaceous (microbial mudstone)",
        "砂屑岩",
        "microbial",
        (194, 160, 110),
        ("microbial mudstone", "arenaceous limestone", "arenaceous dolomite", "arenacous", "砂屑"),
    ),
    RockClass(
        2,
        "bioclastic",
        "Bioclastic",
        "生物碎屑岩",
        "grains",
        (230, 159, 0),
        (
            "bioclast",
            "bioclastic limestone",
            "skeletal",
            "bioclasts",
            "bioclastics",
            "bio clastic",
            "bioclasic",
            "生屑",
            "生物碎屑",
        ),
    ),
    RockClass(
        3,
        "breccia",
        "Breccia",
        "角砾岩",
        "other",
        (140, 86, 75),
        ("brecciated", "breccias", "brecia", "breciated", "角砾"),
    ),
    RockClass(
        4,
        "coarse_crystalline_dolomite",
        "Coarse-crystalline dolomite",
        "粗晶白云岩",
        "dolostone",
        (0, 68, 136),
        (*_grain_size("coarse", "coarsely", "dolomite", "dolostone"), "粗晶云岩"),
    ),
    RockClass(
        5,
        "coarse_crystalline_limestone",
        "Coarse-crystalline limestone",
        "粗晶灰岩",
        "limestone",
        (0, 107, 60),
        _grain_size("coarse", "coarsely", "limestone"),
    ),
    RockClass(
        6,
        "evaporite",
        "Evaporite",
        "蒸发岩",
        "other",
        (240, 128, 190),
        (
            "gypsum",
            "anhydrite",
            "evaporites",
            "evaporitic",
            "evaporate",
            "anhydrit",
            "gypsium",
            "硬石膏",
            "膏岩",
            "石膏",
        ),
    ),
    RockClass(
        7,
        "fine_crystalline_dolomite",
        "Fine-crystalline dolomite",
        "细晶白云岩",
        "dolostone",
        (86, 180, 233),
        (*_grain_size("fine", "finely", "dolomite", "dolostone"), "细晶云岩"),
    ),
    RockClass(
        8,
        "fine_crystalline_limestone",
        "Fine-crystalline limestone",
        "细晶灰岩",
        "limestone",
        (120, 200, 120),
        _grain_size("fine", "finely", "limestone"),
    ),
    RockClass(
        9,
        "foam",
        "Foam (spongiostromata)",
        "泡沫状岩",
        "microbial",
        (178, 120, 214),
        ("foamy", "foam dolomite", "spongiostromata", "foamed", "foam rock", "泡沫绵层", "泡沫绵层石", "泡沫"),
    ),
    RockClass(
        10,
        "fracture",
        "Fracture",
        "裂缝",
        "pores_and_fractures",
        (213, 62, 79),
        ("fractures", "crack", "cracks", "vein", "fissure", "fractured", "裂隙", "裂纹"),
    ),
    RockClass(
        11,
        "grape",
        "Grape (botryoidal)",
        "葡萄状岩",
        "microbial",
        (128, 0, 128),
        (
            "botryoidal",
            "botryoid",
            "grape dolomite",
            "grapestone",
            "botryoidal dolomite",
            "botroidal",
            "葡萄状",
            "葡萄石",
            "葡萄花边",
            "葡萄",
        ),
    ),
    RockClass(
        12,
        "micritic_dolomite",
        "Micritic dolomite",
        "泥晶白云岩",
        "dolostone",
        (158, 202, 225),
        (
            "micrite dolomite",
            "micritic dolostone",
            "dolomicrite",
            "micrtic dolomite",
            "micrite dolostone",
            "泥晶云岩",
            "泥粉晶云岩",
        ),
    ),
    RockClass(
        13,
        "micritic_limestone",
        "Micritic limestone",
        "泥晶灰岩",
        "limestone",
        (186, 228, 179),
        ("micrite", "micrite limestone", "micrtic limestone", "lime mudstone"),
    ),
    RockClass(
        14,
        "medium_crystalline_dolomite",
        "Medium-crystalline dolomite",
        "中晶白云岩",
        "dolostone",
        (33, 113, 181),
        (*_grain_size("medium", "moderately", "dolomite", "dolostone"), "中晶云岩"),
    ),
    RockClass(
        15,
        "medium_crystalline_limestone",
        "Medium-crystalline limestone",
        "中晶灰岩",
        "limestone",
        (49, 163, 84),
        _grain_size("medium", "moderately", "limestone"),
    ),
    RockClass(
        16,
        "oncolite",
        "Oncolite",
        "核形石岩",
        "grains",
        (255, 127, 14),
        ("oncoid", "oncolitic", "oncoids", "oncolites", "onkolite", "oncholite", "核形石"),
    ),
    RockClass(
        17,
        "oolite",
        "Oolite",
        "鲕粒岩",
        "grains",
        (255, 215, 0),
        (
            "ooid",
            "ooids",
            "oolitic",
            "oolites",
            "oolitic limestone",
            "oolitic dolomite",
            "oolith",
            "ooliths",
            "鲕粒灰岩",
            "鲕粒白云岩",
            "鲕粒云岩",
            "鲕粒",
        ),
    ),
    RockClass(
        18,
        "siliceous",
        "Siliceous",
        "硅质岩",
        "other",
        (127, 127, 127),
        ("chert", "silica", "silicious", "silicous", "silicified", "燧石", "硅化", "硅质"),
    ),
    RockClass(
        19,
        "stromatolite",
        "Stromatolite",
        "叠层石岩",
        "microbial",
        (0, 158, 115),
        (
            "stromatolites",
            "stromatolitic",
            "laminated microbialite",
            "stromatolith",
            "stromatalite",
            "stromotolite",
            "叠层石",
            "纹层石",
        ),
    ),
    RockClass(
        20,
        "stylolite",
        "Stylolite",
        "缝合线",
        "pores_and_fractures",
        (64, 64, 64),
        ("stylolites", "stylolitic", "suture", "styolite", "stilolite", "stylolith"),
    ),
    RockClass(
        21,
        "thrombolite",
        "Thrombolite",
        "凝块石岩",
        "microbial",
        (102, 166, 30),
        ("thrombolites", "thrombolitic", "clotted", "thrombolith", "trombolite", "thrombollite", "凝块石"),
    ),
    RockClass(
        22,
        "vug",
        "Vug (pore)",
        "孔洞",
        "pores_and_fractures",
        (23, 190, 207),
        ("vugs", "pore", "pores", "vuggy", "cavity", "vugg", "孔隙", "溶蚀孔洞", "溶洞", "溶孔"),
    ),
)

GROUPS: tuple[str, ...] = ("limestone", "dolostone", "microbial", "grains", "pores_and_fractures", "other")

# What the names of classes of the user's own end in.
_ROCKS: dict[str, tuple[str, ...]] = {
    "limestone": ("limestone", "limestones", "灰岩"),
    "dolostone": ("dolomite", "dolostone", "dolomites", "dolostones", "云岩", "白云石"),
}

# Colours for classes of the user's own: told apart by colour-blind readers (Okabe & Ito 2008), then repeated.
_OWN_COLOURS_RGB = (
    (230, 159, 0), (86, 180, 233), (0, 158, 115), (204, 121, 167),
    (0, 114, 178), (213, 94, 0), (240, 228, 66), (120, 120, 120),
)  # fmt: skip


def canonical_name(name: str) -> str:
    """Return ``name`` in the spelling of an index: lower case, words joined by underscores.

    A known alias becomes the class's own name (``"Ooids"`` gives ``"oolite"``); any other name is kept, so
    that users bring classes of their own: ``"Argillaceous Limestone"`` gives ``"argillaceous_limestone"``.
    """
    # NFKC: the same letters may come as one code or two (names from a Mac), or full-width from a Chinese keyboard.
    words = normalize("NFKC", name).strip().lower().replace("-", " ").replace("_", " ").split()
    spaced = " ".join(words)
    return _BY_SPELLING.get(spaced, "_".join(words))


def find_class(name: str) -> RockClass:
    """Return one of the 22 classes by any of its names, or by ``class7``.

    Raises:
        DataError: no class is called so.
    """
    wanted = canonical_name(name)
    for rock in CLASSES:
        if wanted in (rock.name, f"class{rock.id}"):
            return rock
    raise DataError(unknown_name("class", name, [rock.name for rock in CLASSES]))


def group_of(name: str) -> str:
    """Return the group of a class by its name: of the 22 as listed, of one's own by the rock that its name ends in.

    ``argillaceous_limestone`` and ``泥灰岩`` are limestones, ``sandy_dolostone`` and ``粉晶云岩`` dolostones; where a
    name tells no rock, ``own``.
    """
    known = {rock.name: rock.group for rock in CLASSES}
    return known.get(name) or next((group for group, ends in _ROCKS.items() if name.endswith(ends)), "own")


def describe_classes(names: Iterable[str]) -> tuple[RockClass, ...]:
    """Return a `RockClass` for each name in order, making one (id 0) where the name is the user's own."""
    known = {rock.name: rock for rock in CLASSES}
    found: list[RockClass] = []
    for position, name in enumerate(names):
        own_colour = _OWN_COLOURS_RGB[position % len(_OWN_COLOURS_RGB)]
        own = RockClass(0, name, name.replace("_", " ").capitalize(), "", group_of(name), own_colour)
        found.append(known.get(name, own))
    return tuple(found)


def _spellings() -> dict[str, str]:
    table: dict[str, str] = {}
    for rock in CLASSES:
        for spelling in (rock.name, rock.title, rock.chinese, *rock.aliases):
            table[" ".join(spelling.lower().replace("-", " ").replace("_", " ").split())] = rock.name
    return table


_BY_SPELLING = _spellings()
