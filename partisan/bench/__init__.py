"""The throughput experiments: `python -m partisan.bench --help`.

`micro` measures the node beside foreign peers in one run, `memory` what an idle node holds, `demo` shows three nodes at
work. Nothing in the package knows of this directory: what is measured is what an application gets.
"""
