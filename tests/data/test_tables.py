import numpy as np
import pandas as pd
import pytest

from rootpoint.data import tables
from rootpoint.data.tables import flaw, read_table
from rootpoint.errors import InputError


@pytest.fixture
def write(tmp_path):
    def write(text, encoding="utf-8"):
        path = tmp_path / "table.csv"
        path.write_bytes(text.encode(encoding))
        return path

    return write


@pytest.mark.parametrize("separator", [",", ";", "\t", ", "])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_the_first_line_tells_the_separator(write, separator, end):
    lines = (("a", "b", "c d"), ("1", "2.5", "-3e2"), ("4", "5", "6"))
    frame = read_table(write(end.join(separator.join(line) for line in lines)))
    assert list(frame.columns) == ["a", "b", "c d"]
    np.testing.assert_array_equal(frame, [[1, 2.5, -300], [4, 5, 6]])


def test_quotes_hold_separators_quotes_and_line_breaks(write):
    frame = read_table(write('"a;1",b\n"x, ""y""\nz",2\n'))
    assert frame.to_dict("list") == {"a;1": ['x, "y"\nz'], "b": [2]}


def test_a_byte_order_mark_is_no_part_of_a_name(write):
    assert list(read_table(write("a,b\n1,2\n", "utf-8-sig")).columns) == ["a", "b"]


def test_one_column_needs_no_separator(write):
    assert read_table(write("text\nhello world\n"))["text"].tolist() == ["hello world"]


@pytest.mark.parametrize(
    ("rows", "expected"),
    [(None, range(6)), (range(2), [0, 1]), (range(2, 5), [2, 3, 4]), (range(4, 9), [4, 5])],
)
def test_only_the_chosen_rows_are_read_and_keep_their_numbers(write, rows, expected):
    lines = [f"{i},{10 * i}\n" for i in range(6)]
    frame = read_table(write("a,b\n" + lines[0] + "\n" + "".join(lines[1:])), rows)
    assert frame["a"].tolist() == list(expected)
    assert frame.index.tolist() == list(expected)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("a,b\n", "has no row 0"),
        ("\n1,2\n", "first line .* is empty"),
        ("1,2.5\n3,4\n", "first line .* numbers only"),
        ("a,b,a\n1,2,3\n", "two columns 'a'"),
        ("a,b\n1,2\n3,4,5\n", "more values"),
        ("a,b\n3,4,5\n6,7,8\n", "more values"),
        ("a;b\n1,5;2\n2,5;3\n", r"commas \(1,5 in column 'a'\)"),
        ("a;b\n1.234,5;2\n1;3\n", "commas"),
        ('a,b\n"1,234",2\n"5",3\n', "commas"),
        ("a,b\n1,\x00\n", None),
        ("\x00\x01\x02,b\n1,2\n", "is no text"),
    ],
)
def test_what_could_be_misread_is_refused(write, text, message):
    path = write(text)
    if message is None:  # a stray NUL later on is a value that is no number
        assert flaw(read_table(path)) is not None
        return
    with pytest.raises(InputError, match=message) as caught:
        read_table(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("text", ["ä,b\n1,2\n", "a,b\nä,2\n"])
def test_another_encoding_is_refused(write, text):
    with pytest.raises(InputError, match="UTF-8"):
        read_table(write(text, "latin-1"))


def test_words_with_commas_are_texts(write):
    assert read_table(write("a;b\nyes, sir;1\n1,5;2\n"))["a"].tolist() == ["yes, sir", "1,5"]


def test_rows_beyond_the_end_folders_and_absent_files_are_refused(write, tmp_path):
    path = write("a\n1\n")
    with pytest.raises(InputError, match="has no row 7"):
        read_table(path, range(7, 9))
    with pytest.raises(InputError, match="is a folder"):
        read_table(tmp_path)
    with pytest.raises(InputError, match="no file"):
        read_table(tmp_path / "absent.csv")


def test_of_a_huge_file_some_rows_must_be_chosen(write, monkeypatch):
    path = write("a\n" + "1\n" * 100)
    monkeypatch.setattr(tables, "MAX_BYTES", 50)
    with pytest.raises(InputError, match="--rows 0:1000"):
        read_table(path)
    assert len(read_table(path, range(3))) == 3


def test_the_first_value_that_is_no_number_is_found(write):
    assert flaw(pd.DataFrame({"a": [1.0, 2.0]})) is None
    frame = read_table(write("a,b\n1,2\n3,\n4,word\n"))
    assert flaw(frame) == "no value in row 1, column 'b'"
    assert flaw(frame.iloc[2:]) == "'word' in row 2, column 'b'"
