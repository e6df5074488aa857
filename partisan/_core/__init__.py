"""The compiled core: octets in, terms and wake-ups out. It knows no clock, no socket and no event loop."""
