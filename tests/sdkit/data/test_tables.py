import numpy as np
import pytest

from sdkit.data.tables import full_months, read_table, shuffled, year_and_month
from sdkit.runtime.errors import FileFormatError

TEXT = '\ufeff"a",b,c\r\n1,"x,y",2.5\r\n\r\n-3,z,4e1\r\n'.encode()


def test_columns_are_read_by_name() -> None:
    table = read_table(TEXT, "t.csv", ("c", "a", "b"))
    assert table.whole("a").tolist() == [1, -3]
    assert table.numbers("c").tolist() == [2.5, 40]
    assert table.cells["b"] == ["x,y", "z"]
    assert table.column("b", len, "a text").tolist() == [3, 1]
    assert list(table.lines) == [2, 4]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "t.csv holds no row; expected a header line with a, b"),
        (b"a,b\n\n", "t.csv holds no row"),
        (b"\xff\xfe\x00", "t.csv is not a text of comma-separated cells"),
        (b"a,c\n1,2\n", "t.csv has no column 'b'; it has: a, c"),
        (b"a,b\n1,2\n\n3\n", r"t.csv: line 4 has 1 cells; expected 2, as in the header"),
        (b"a,b\n1,2\n1,2,3\n", r"t.csv: line 3 has 3 cells; expected 2"),
    ],
)
def test_texts_that_are_no_tables(data: bytes, message: str) -> None:
    with pytest.raises(FileFormatError, match=message):
        read_table(data, "t.csv", ("a", "b"))


@pytest.mark.parametrize("cell", ["", "x", "NA", "nan", "inf", "-1e999", "1 2"])
def test_a_cell_that_is_no_number_is_named(cell: str) -> None:
    table = read_table(f"a,b\n1,2\n\n1,{cell}\n".encode(), "t.csv", ("b",))
    with pytest.raises(FileFormatError, match=f"t.csv: line 4, column b: '{cell}' is not a number"):
        table.numbers("b")
    with pytest.raises(FileFormatError, match=f"line 4, column b: '{cell}' is not a whole number"):
        table.whole("b")


def test_a_fraction_is_not_whole() -> None:
    with pytest.raises(FileFormatError, match=r"line 2, column a: '1.5' is not a whole number"):
        read_table(b"a\n1.5\n", "t.csv", ("a",)).whole("a")


def test_full_months_begin_at_their_first_hour_and_have_28_days() -> None:
    hours = np.arange("2015-01-02T00", "2015-04-28T23", dtype="datetime64[h]")
    table = read_table(("h\n" + "0\n" * len(hours)).encode(), "t.csv", ("h",))
    months = full_months(table, hours)
    assert [str(month) for month in months] == ["2015-02", "2015-03"]  # January begins late, April lacks an hour
    for month, rows in months.items():
        assert rows.stop - rows.start == 672
        assert hours[rows][0] == month
        assert hours[rows][-1] == np.datetime64(f"{month}-28T23")


@pytest.mark.parametrize("second", ["2015-01-01T02", "2015-01-01T00", "2014-12-31T23"])
def test_an_hour_that_does_not_follow_is_named(second: str) -> None:
    table = read_table(b"h\n0\n0\n", "t.csv", ("h",))
    hours = np.array(["2015-01-01T00", second], "datetime64[h]")
    with pytest.raises(FileFormatError, match=f"t.csv: line 3 is of {second}h; expected 2015-01-01T01h"):
        full_months(table, hours)


def test_year_and_month() -> None:
    months = ["1969-12", "1970-01", "2016-12", "2017-01"]
    found = [year_and_month(np.datetime64(month, "M")) for month in months]
    assert found == [(1969, 12), (1970, 1), (2016, 12), (2017, 1)]


def test_the_shuffle_is_that_of_pythons_generator_seeded_1234() -> None:
    # The numbers are those of `random.seed(1234); random.shuffle(x)`, which the original code calls.
    assert shuffled(range(10), 0.85) == ([2, 8, 3, 5, 6, 4, 9, 0], [1, 7])
    assert [len(part) for part in shuffled(range(1520), 0.8)] == [1216, 304]
    assert shuffled([], 0.8) == ([], [])
