"""Benches of the compiled core, and programs that compare it with others; none of it is installed."""
