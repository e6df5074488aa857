"""The command line of the experiments: a bad flag is named, and said in words."""

import pytest

from partisan.bench.__main__ import main, parser


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["micro", "--only", "oneway,sprint"], "argument --only: 'sprint' is no workload"),
        (["micro", "--peers", "smoke"], "argument --peers: 'smoke' is no peer"),
        (["micro", "--actors", "0"], "argument --actors: 0 is below 1"),
        (["micro", "--actors", "many"], "argument --actors: 'many' is no list of whole numbers"),
        (["micro", "--octets", "16,1Kx"], "argument --octets: '1Kx' is no size"),
        (["micro", "--octets", "0"], "argument --octets: '0' is no size"),
        (["micro", "--seconds", "nan"], "argument --seconds: nan is not above 0"),
        (["micro", "--seconds", "-1"], "argument --seconds: -1 is not above 0"),
        (["micro", "--repeat", "0"], "argument --repeat: '0' is no whole number"),
        (["memory", "--repeat", "x"], "argument --repeat: 'x' is no whole number"),
        (["micro", "--loud"], "unrecognized arguments: --loud"),
        (["paper", "--rtt", "20000"], "argument --rtt: 20000 has what is not within 0 and 10000"),
        (["paper", "--only", ","], "argument --only: ',' names no experiment"),
        (["marathon"], "'marathon'"),
    ],
)
def test_a_bad_flag_is_named(arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parser().parse_args(arguments)
    assert ended.value.code == 2
    assert says in capsys.readouterr().err


def test_sizes_are_read_with_their_units() -> None:
    options = parser().parse_args(["micro", "--octets", "16,1KiB,8 mib", "--actors", "1,128"])
    assert options.octets == [16, 1024, 8 << 20]
    assert options.actors == [1, 128]


def test_a_file_that_cannot_be_written_is_said_before_anything_is_measured(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["micro", "--json", "/nowhere/at/all/rows.json"]) == 1
    assert "/nowhere/at/all" in capsys.readouterr().err
