"""What the labs' plots have in common: whether there can be any, and how strategies are told apart.

The colours are ones that colour-blind people can tell, and the lines differ as well.
"""

from __future__ import annotations

import importlib.util

COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
DASHES = ("-", (0, (5, 1.5)), (0, (1, 1)), (0, (5, 1, 1, 1)), (0, (3, 1, 1, 1, 1, 1)))


def can_plot() -> bool:
    """Tell whether matplotlib is there."""
    return importlib.util.find_spec("matplotlib") is not None
