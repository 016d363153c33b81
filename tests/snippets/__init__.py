"""Running what documents show: their blocks are taken out and run as they stand, in a world made for them."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "unit"))  # corpora and models that the unit tests make
