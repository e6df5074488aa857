"""From octets to Python values: C functions only."""
