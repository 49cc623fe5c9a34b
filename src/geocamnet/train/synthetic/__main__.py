"""Write the contact sheet: ``python -m geocamnet.train.synthetic docs/images/contact_sheet.jpg``."""

import sys
from pathlib import Path

from geocamnet.images import write_image
from geocamnet.train.synthetic import contact_sheet

if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m geocamnet.train.synthetic PICTURE.jpg")
    write_image(Path(sys.argv[1]), contact_sheet(192), quality=72)
