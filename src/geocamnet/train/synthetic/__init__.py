"""Thin sections of carbonate rocks drawn with exact masks, in plane- and cross-polarised light.

Every picture is computed from a slice of rock: how much each pixel absorbs, and how the crystal there is turned.
Read in this order:

- `patterns`: noise, mosaics of cells, packed discs: shapes without a mineral.
- `optics`: the slice of rock, and what light does in it (absorption, interference colours, extinction).
- `slide`: what a thin section has in common: scale, stain, thickness, lamp, camera.
- `mud`: micrite, and the glue in pores.
- `crystals`: spar, dolomite rhombs, cement.
- `crystalline`, `grains`, `bioclasts`, `fragments`, `microbial`, `silica`: the fabrics that own their pixels.
- `objects`: fracture, stylolite, vug, evaporite, which lie in a host rock.
- `camera`: focus, exposure, tone, noise, the burnt-in scale bar.
- `field`: one field of view, photographed in both lights, with its mask.
- `write`: a RAW folder of them.
- `sheet`: the contact sheet of all classes.
"""

from geocamnet.train.synthetic.field import DrawnField, draw_field
from geocamnet.train.synthetic.sheet import contact_sheet
from geocamnet.train.synthetic.write import synthesize

__all__ = ["DrawnField", "contact_sheet", "draw_field", "synthesize"]
