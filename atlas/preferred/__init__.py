"""Preferred inputs: images synthesised by gradient ascent to excite a unit, a logit or a direction."""
