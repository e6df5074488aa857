"""Erlang distribution: a node of this package as a member of a cluster of Erlang and Elixir nodes."""
