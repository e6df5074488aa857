"""The experiment `cluster`: what a full mesh costs, and how soon it misses a member."""

from .run import Plan as Plan
from .run import run as run
