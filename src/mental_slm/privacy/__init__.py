"""Personal data in texts: find it, mask it.

Patterns find what has a form (addresses, numbers, handles); names are found by lists and by the
words around them, which no list makes complete: docs and reports state the measured recall.
"""

from .scrubbing import KINDS, Finding, find_personal_data, mask, scrub

__all__ = ["KINDS", "Finding", "find_personal_data", "mask", "scrub"]
