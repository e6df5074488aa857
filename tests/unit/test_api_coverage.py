"""The page of the API's names cannot lie: what is missing has a reason, and no reason outlives what it excuses."""

from __future__ import annotations

import importlib.util
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
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
    assert ("transitive", "`forward_message`, `cast_message`, `call` (of every behaviour)") in rows


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("out_links broadcast", "out_lnks broadcast", "options.out_lnks is not there: why"),
        ("update_members\n", "update_members upd_members\n", "peer_service.upd_members is not there: why"),
        ("[reasons]", '[reasons]\n"partisan.join" = "later"', "partisan.join is there and has a reason"),
        ("[reasons]", '[reasons]\n"options.channel" = "later"', "options.channel is there and has a reason"),
        ("[reasons]", '[reasons]\n"partisan.nowhere" = "later"', "never was asked for: partisan.nowhere"),
    ],
)
def test_a_list_that_is_not_in_step_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old: str, new: str, problem: str
) -> None:
    assert old in NAMES
    with pytest.raises(ValueError, match=re.escape(problem)):
        page(NAMES.replace(old, new, 1), tmp_path, monkeypatch)


def test_a_name_of_a_class_is_found_where_the_class_is() -> None:
    assert generate.found("partisan.names.NodeSpec", "channel") == "`partisan.names.NodeSpec.channel`"
    assert generate.found("partisan.names.NodeSpec", "chanel") == ""
    assert generate.found("partisan.names.NoClass", "channel") == ""
    assert generate.found("partisan.no_module.NoClass", "channel") == ""


Names = dict[str, set[str]]

OURS = {
    "partisan": {
        *(
            "link",
            "unlink",
            "trap_exit",
            "processes",
            "receive",
            "register",
            "unregister",
            "reconfigure",
            "offload",
            "expose",
        ),
        *("spawn_opt", "spawn_at", "spawn_link_at", "spawn_monitor_at", "whereis_at", "is_process_alive_at"),
    },
    "partisan.erpc": {"reqids_new", "reqids_add", "reqids_size", "reqids_to_list"},
    "partisan.discovery": {"lookup", "enable", "disable", "status"},
}
"""What is there besides what was asked for: of this package alone."""


def events_of(text: str) -> set[str]:
    """The events of `partisan.a.b, c; partisan.d.e`: one without its beginning has that of the one before it."""
    found, before = set(), ""
    for each in re.split(r"[,;]", re.sub(r"\([^)]*\)", "", text)):
        name = each.strip(" .")
        if "." in name:
            name = name.removeprefix("partisan.")
            before = name.rpartition(".")[0] + "."
            found.add(name)
        else:
            found.add(before + name)
    return found


def names_of(text: str) -> set[str]:
    """The names of a list `a, b (of what), c, in this form.`: what is in brackets, or several words, is none."""
    items = re.split(r"[,;]", re.sub(r"\([^)]*\)", "", text).partition(".")[0])
    return {name.strip() for name in items if re.fullmatch(r"[\w*]+", name.strip())}


def asked_for(text: str) -> Names:
    """The names that the specification lists, by their place; those of a place that it refers to OTP for are none."""
    text, found = " ".join(text.split()), Names()
    for title, body in re.findall(r"\*\*([^*]+)\*\*(.*?)(?=\*\*|\Z)", text):
        listed = body.partition(":")[2]
        if title == "Telemetry events":
            found["events"] = events_of(body.partition("dots):")[2])
        elif title == "Message options":
            found["options"] = names_of(listed)
        elif title == "partisan.plumtree":
            functions, _, callbacks = listed.partition("handler callbacks")
            found[title], found[f"{title}.Handler"] = names_of(functions), names_of(callbacks)
        else:
            found[title] = set() if "OTP's public functions" in listed or not listed else names_of(listed)
    found["partisan"] |= set(
        re.findall(r"`(\w+)`", text.partition("are also at the top")[0].rpartition("same modules.")[2])
    )
    return found


def listed(text: str) -> Names:
    """The names of docs/api-names.toml, by their place."""
    tables = tomllib.loads(text)
    found = {each["place"]: set(each["names"].split()) for each in tables["module"]}
    return found | {key: set(tables[key]["names"].split()) for key in ("options", "events")}


def differences(asked: Names, have: Names) -> Names:
    """Places, and what only one of the two lists has there; `reqids_*` stands for all that begin so."""
    found = {}
    for place in asked.keys() | have.keys():
        wanted, names = asked.get(place), have.get(place, set()) - OURS.get(place, set())
        if wanted is None:  # a place of this package alone
            differing = {place} if names or place not in OURS else set()
        elif not wanted:  # OTP's names, which the list writes out
            differing = set() if names else {place}
        else:
            starred = {name[:-1] for name in wanted if name.endswith("*")}
            begun = {name: next((start for start in starred if name.startswith(start)), "") for name in names}
            differing = {f"{start}*" for start in starred} | {name for name in wanted if not name.endswith("*")}
            differing ^= {f"{start}*" if start else name for name, start in begun.items()}
        if differing:
            found[place] = differing
    return found


SAMPLE = """# Names

**partisan** (as `erlang`): call_me, is_connected (node; node and channel), node_spec (own, of a node), stop.

**partisan.rpc**: call, yield_, in two formats.
**partisan.gen.server** (OTP's gen_server): start, reqids_* (collections), enter_loop.
**partisan.gen.statem**, **partisan.gen.sys**: OTP's public functions of the same modules. `GenServer`, `call` are also
at the top.

**partisan.plumtree**: broadcast, exchanges; handler callbacks merge, graft.

**Message options** (send where they apply): channel, broadcast (deliver over the tree), timeout.

**Telemetry events** (all; joined by dots): partisan.a.b.up, down; partisan.c.send, recv
(octets), lost; partisan.d.e.
"""


def test_the_names_of_a_specification_are_read() -> None:
    assert asked_for(SAMPLE) == {
        "partisan": {"call_me", "is_connected", "node_spec", "stop", "GenServer", "call"},
        "partisan.rpc": {"call", "yield_"},
        "partisan.gen.server": {"start", "reqids_*", "enter_loop"},
        "partisan.gen.statem": set(),
        "partisan.gen.sys": set(),
        "partisan.plumtree": {"broadcast", "exchanges"},
        "partisan.plumtree.Handler": {"merge", "graft"},
        "options": {"channel", "broadcast", "timeout"},
        "events": {"a.b.up", "a.b.down", "c.send", "c.recv", "c.lost", "d.e"},
    }


def test_two_lists_of_names_are_compared_both_ways() -> None:
    asked = {"m": {"a", "b", "r_*"}, "otp": set(), "lost": {"x"}}
    assert differences(asked, {"m": {"a", "b", "r_new"}, "otp": {"start"}, "lost": {"x"}}) == {}
    assert differences(asked, {"m": {"a", "c"}, "otp": set(), "more": {"y"}}) == {
        "m": {"b", "c", "r_*"},
        "otp": {"otp"},
        "lost": {"x"},
        "more": {"more"},
    }


SPECIFIED = ROOT.parent / "shared" / "reference" / "api.md"


@pytest.mark.skipif(not SPECIFIED.exists(), reason="the specification of the names is not beside this repository")
def test_the_list_has_the_names_of_the_specification_and_no_others() -> None:
    assert differences(asked_for(SPECIFIED.read_text(encoding="utf-8")), listed(NAMES)) == {}
