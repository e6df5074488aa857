"""Collections of requests: each answer is given once, under its label, in whatever order things happen."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from partisan._core.requests import Request
from partisan.errors import Exit, NodeDown, NoProc
from partisan.etf import Atom
from partisan.gen.responses import (
    RequestIds,
    check_response,
    reqids_add,
    reqids_new,
    reqids_size,
    reqids_to_list,
)

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.text(max_size=3)),
        st.tuples(st.sampled_from(["end", "check", "keep", "drop", "elsewhere"]), st.integers(0, 30)),
    ),
    max_size=60,
)


def test_a_new_collection_is_empty() -> None:
    collection = reqids_new()
    assert reqids_size(collection) == 0
    assert reqids_to_list(collection) == []
    assert Request() not in collection


def test_a_request_is_added_once_and_nothing_else_is() -> None:
    request, collection = Request(), reqids_new()
    assert reqids_add(request, "label", collection) is collection
    with pytest.raises(ValueError, match="already"):
        collection.add(request, "another")
    with pytest.raises(TypeError, match="send_request"):
        collection.add("request", "label")  # type: ignore[arg-type]
    assert reqids_to_list(collection) == [(request, "label")]


@given(STEPS)
def test_a_collection_agrees_with_a_dict(steps: list[tuple[str, Any]]) -> None:
    collection, model, made, ended, other = RequestIds(), {}, [], set(), RequestIds()
    for step, argument in steps:
        if step == "add":
            request = Request()
            made.append(request)
            model[request] = argument
            reqids_add(request, argument, collection)
        elif made:
            request = made[argument % len(made)]
            response = None
            if step == "end":
                request.fire(Atom("reason"))
                ended.add(request)
            elif step == "drop":
                request.drop()
            elif step == "elsewhere":
                assert check_response(request, other) is None
                assert check_response(("a", "message"), collection) is None
            else:
                expected = request in model and not request.pending
                response = check_response(request, collection, delete=step == "check")
                assert (response is not None) == expected
                if response is not None:
                    assert response.request is request
                    assert response.label == model[request]
                    assert not request.arrived
                    if step == "check":
                        del model[request]
        assert reqids_size(collection) == len(model)
        assert reqids_to_list(collection) == list(model.items())
        assert all(each in collection for each in model)


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        (Atom("noproc"), NoProc),
        ((Atom("nodedown"), Atom("b@host")), NodeDown),
        (Atom("shutdown"), Exit),
    ],
)
def test_a_response_without_an_answer_raises_why_when_it_is_asked_for_its_value(reason: Any, kind: type[Exit]) -> None:
    request = Request()
    assert check_response(request, request) is None
    request.fire(reason)
    response = check_response(request, request)
    assert response is not None
    assert not request.arrived
    assert type(response.error) is kind
    with pytest.raises(kind):
        _ = response.value
