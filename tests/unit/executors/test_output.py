from rota.executors.programs import KEEP_LIMIT, LINE_LIMIT, Lines


def told(*chunks: bytes) -> list[str]:
    heard: list[str] = []
    lines = Lines(heard.append)
    for chunk in chunks:
        lines.feed(chunk)
    lines.end()
    return heard


def test_lines_are_cut_at_line_ends_wherever_the_chunks_end():
    text = b"one\ntwo\r\n\nthree"
    for cut in range(len(text)):
        assert told(text[:cut], text[cut:]) == ["one", "two", "", "three"]


def test_odd_bytes_become_text():
    assert told(b"a\0b\xff\n", b"\xc3", b"\xa9\n") == ["a\ufffdb\ufffd", "é"]


def test_a_line_of_a_megabyte_is_one_bounded_line():
    chunks = [b"x" * 65_536] * 16 + [b"\nshort\n"]
    long, short = told(*chunks)
    assert long == "x" * LINE_LIMIT + f" … ({(1 << 20) - LINE_LIMIT:,} bytes cut)"
    assert short == "short"


def test_a_long_line_in_one_chunk_is_cut_as_well():
    long, short = told(b"x" * 20_000 + b"\nshort")
    assert long.endswith(f"({20_000 - LINE_LIMIT:,} bytes cut)")
    assert short == "short"


def test_a_flood_is_dropped_and_counted():
    line = b"y" * 1_023 + b"\n"
    heard = told(*[line * 64] * 200)
    assert len(heard) * 1_024 < KEEP_LIMIT + 70_000
    assert heard[-1].endswith("more bytes of output were dropped")


def test_a_flood_of_empty_lines_ends_as_well():
    assert len(told(*[b"\n" * 65_536] * 100)) < 200_000


def test_the_tail_is_the_end_whatever_was_dropped():
    lines = Lines(lambda text: None)
    lines.feed(b"x" * KEEP_LIMIT + b"\n")
    lines.feed(b"the last\nwords\n")
    assert lines.tail.endswith("the last\nwords")
    lines.end()
    assert lines.tail == ""
