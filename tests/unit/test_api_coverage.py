"""The page of the API's names cannot lie: what is missing has a reason, and no reason outlives what it excuses."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"
SPECIFICATION = importlib.util.spec_from_file_location("generate", DOCS / "generate.py")
assert SPECIFICATION is not None
generate = importlib.util.module_from_spec(SPECIFICATION)
assert SPECIFICATION.loader is not None
SPECIFICATION.loader.exec_module(generate)

NAMES = (DOCS / "api-names.toml").read_text()


def page(names: str, where: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (where / "api-names.toml").write_text(names)
    monkeypatch.setattr(generate, "DOCS", where)
    return str(generate.coverage())


def test_every_name_has_a_place_or_a_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = page(NAMES, tmp_path, monkeypatch)
    rows = re.findall(r"^\| `(\w+[\w.]*)` \| (.+) \|$", made, re.MULTILINE)
    assert len(rows) > 150
    assert ("join", "`partisan.peer_service.join`, `Node.join`") in rows
    assert ("monitor", "not yet: comes with monitors") in rows


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ('"partisan.broadcast" =', '"partisan.broadcst" =', "partisan.broadcast is not there: why"),
        ("update_members\n", "update_members upd_members\n", "peer_service.upd_members is not there: why"),
        ("[reasons]", '[reasons]\n"partisan.join" = "later"', "partisan.join is there and has a reason"),
        ("[reasons]", '[reasons]\n"options.channel" = "later"', "options.channel is there and has a reason"),
        ("[reasons]", '[reasons]\n"partisan.nowhere" = "later"', "never was asked for: partisan.nowhere"),
        ('"options.clock" =', '"options.never" =', "options.clock is not there: why"),
    ],
)
def test_a_list_that_is_not_in_step_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old: str, new: str, problem: str
) -> None:
    assert old in NAMES
    with pytest.raises(ValueError, match=re.escape(problem)):
        page(NAMES.replace(old, new, 1), tmp_path, monkeypatch)
