"""The handshake of Erlang's distribution, both sides of it in one process."""

import hashlib
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from partisan.dist.flags import MANDATORY_25, MANDATORY_26, OURS, Flag, expanded
from partisan.dist.handshake import Cookies, Established, Handshake, Identity, Verdict, accept, digest, initiate
from partisan.errors import HandshakeError

A = Identity("a@127.0.0.1", 7)
B = Identity("b@127.0.0.1", 9)
COOKIES = Cookies("c", "c")


def dialling(myself=A, expected=B.name, cookies=COOKIES, head=2, **options):
    return Handshake(initiate(myself, expected, cookies, 17, **options), head=head)


def accepting(myself=B, cookies=COOKIES, judge=lambda name, creation: Verdict.OK, head=2, **options):
    return Handshake(accept(myself, lambda name: cookies, 23, judge, **options), head=head)


def run(left, right, size=1 << 16):
    """Carry octets both ways, so many at a time, until nothing moves."""
    while left.out or right.out:
        for source, target in ((left, right), (right, left)):
            data, source.out = bytes(source.out), bytearray()
            for start in range(0, len(data), size):
                target.receive(data[start : start + size])
    return left, right


@pytest.mark.parametrize("head", [2, 4])
@pytest.mark.parametrize("size", [1, 2, 3, 1 << 16])
def test_both_sides_agree_however_the_octets_are_cut(size, head):
    left, right = run(dialling(head=head), accepting(head=head), size)
    assert left.result == Established("b@127.0.0.1", 9, OURS, False, A)
    assert right.result == Established("a@127.0.0.1", 7, OURS, False, B)


def test_the_flags_are_those_of_both():
    left, right = run(dialling(Identity(A.name, 7, MANDATORY_26 | Flag.SPAWN)), accepting())
    assert left.result.flags == right.result.flags == MANDATORY_26 | Flag.SPAWN


def test_the_digest_of_release_25_stands_for_all_that_it_asks():
    _, right = run(dialling(Identity(A.name, 7, Flag.MANDATORY_25_DIGEST)), accepting())
    assert right.error is None
    assert expanded(int(Flag.MANDATORY_25_DIGEST)) & MANDATORY_25 == MANDATORY_25


def test_a_dialler_that_lacks_what_is_needed_is_told_so():
    left, right = run(dialling(Identity(A.name, 7, Flag(0))), accepting())
    assert right.error.reason == "refused"
    assert left.error.reason == "refused"
    assert "asks for more" in str(left.error)


def test_an_acceptor_that_lacks_what_is_needed_is_refused():
    left, _ = run(dialling(), accepting(Identity(B.name, 9, Flag(0))))
    assert left.error.reason == "refused"
    assert "lacks" in str(left.error)


def test_who_does_not_know_the_cookie_is_refused_by_the_acceptor():
    left, right = run(dialling(cookies=Cookies("c", "wrong")), accepting())
    assert right.error.reason == "cookie"
    assert left.result is None


def test_an_acceptor_that_does_not_know_our_cookie_is_refused():
    left, right = run(dialling(cookies=Cookies("other", "c")), accepting())
    assert left.error.reason == "cookie"
    assert right.result is not None


def test_a_cookie_for_each_direction_is_enough():
    left, right = run(dialling(cookies=Cookies("left", "right")), accepting(cookies=Cookies("right", "left")))
    assert left.result is not None
    assert right.result is not None


def test_another_node_than_was_dialled_is_refused():
    left, _ = run(dialling(expected="c@127.0.0.1"), accepting())
    assert left.error.reason == "unexpected_peer"


@pytest.mark.parametrize(("verdict", "reason"), [(Verdict.REFUSED, "simultaneous"), (Verdict.NOT_ALLOWED, "refused")])
def test_a_refusal_is_told_and_ends_the_handshake(verdict, reason):
    left, right = run(dialling(), accepting(judge=lambda name, creation: verdict))
    assert (left.error.reason, right.error.reason) == (reason, reason)


def test_of_two_that_dial_each_other_one_goes_on():
    left, right = run(dialling(), accepting(judge=lambda name, creation: Verdict.SIMULTANEOUS))
    assert left.result is not None
    assert right.result is not None


@pytest.mark.parametrize("go_on", [True, False])
def test_a_dialler_that_is_believed_connected_says_whether_to_go_on(go_on):
    left, right = run(dialling(alive=lambda: go_on), accepting(judge=lambda name, creation: Verdict.ALIVE))
    assert (left.result is not None) is go_on
    assert (right.result is not None) is go_on


def test_a_node_may_be_given_its_name():
    nameless = Identity("127.0.0.1", 0, OURS | Flag.NAME_ME)
    given = Identity("given@127.0.0.1", 77)
    left, right = run(dialling(nameless), accepting(name_for=lambda host: given))
    assert (left.result.myself.name, left.result.myself.creation) == ("given@127.0.0.1", 77)
    assert (right.result.peer, right.result.creation) == ("given@127.0.0.1", 77)
    assert left.result.flags & Flag.NAME_ME  # without, a node of OTP gives its new name up again


def test_an_acceptor_that_gives_no_names_refuses_who_asks_for_one():
    left, right = run(dialling(Identity("127.0.0.1", 0, OURS | Flag.NAME_ME)), accepting())
    assert left.error.reason == right.error.reason == "refused"


def test_a_node_whose_given_name_may_not_connect_is_refused():
    nameless, given = Identity("127.0.0.1", 0, OURS | Flag.NAME_ME), Identity("given@127.0.0.1", 77)
    judged = []

    def judge(name, creation):
        judged.append((name, creation))
        return Verdict.NOT_ALLOWED

    left, right = run(dialling(nameless), accepting(name_for=lambda host: given, judge=judge))
    assert left.error.reason == right.error.reason == "refused"
    assert judged == [("given@127.0.0.1", 77)]


def test_a_name_that_was_not_asked_for_is_malformed():
    left = dialling()
    name = b"x@y"
    left.receive(framed(b"snamed:" + struct.pack(">H", len(name)) + name + bytes(4)))
    assert left.error.reason == "malformed"


def test_what_comes_behind_the_last_packet_is_kept():
    left, right = dialling(), accepting()
    right.receive(bytes(left.out))
    left.out.clear()
    left.receive(bytes(right.out))
    right.out.clear()
    right.receive(bytes(left.out) + b"\0\0\0\0")
    assert right.result is not None
    assert right.rest == b"\0\0\0\0"


def test_the_digest_is_that_of_the_cookie_and_the_decimal_challenge():
    assert digest("secret", 4294967295) == hashlib.md5(b"secret4294967295").digest()


def framed(packet):
    return len(packet).to_bytes(2, "big") + packet


@pytest.mark.parametrize(
    "packet",
    [
        b"",
        b"x",
        b"N",
        b"n\0\5\0\0\0\0old@host",
        b"N" + bytes(12) + b"\xff\xff" + b"a",
        b"N" + bytes(12) + b"\0\0",
        b"N" + struct.pack(">Q", int(OURS)) + bytes(4) + b"\0\2\xff\xfe",
    ],
)
def test_what_does_not_begin_as_a_handshake_is_malformed(packet):
    right = accepting()
    right.receive(framed(packet))
    assert right.error.reason == "malformed"


def test_a_packet_that_is_announced_too_long_is_refused_before_it_comes():
    right = accepting()
    right.receive(b"\xff\xff")
    assert right.error.reason == "malformed"


@given(st.binary(max_size=300), st.booleans())
def test_no_octets_make_a_handshake_raise(data, accepts):
    side = accepting() if accepts else dialling()
    side.receive(framed(data) + data)
    assert side.result is None
    assert side.error is None or isinstance(side.error, HandshakeError)
