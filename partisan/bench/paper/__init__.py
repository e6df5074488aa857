"""The published experiments: `python -m partisan.bench paper` runs them and sets each figure beside the published one.

A cell is one point of one experiment on one transport; an outcome is what became of it. The way of a run: `experiments`
names the cells, `runner` measures them in turns, `results` keeps and writes them, `published` holds what the papers
say, `verdicts` sets both beside each other, `report` draws and writes the pages.
"""
