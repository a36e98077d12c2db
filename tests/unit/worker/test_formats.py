"""Durations, sizes, tube names and servers, as people write them."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tubeherd.formats.addresses import LISTENER, parse_listener
from tubeherd.formats.durations import DURATION, format_duration, parse_duration
from tubeherd.formats.sizes import SIZE, parse_size
from tubeherd.formats.tubes import RESERVED, TUBE, check_tube
from tubeherd.queue.server import SERVER, parse_server, whole_address


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90),
        ("0", 0),
        (5, 5),
        (0.5, 0.5),
        ("90s", 90),
        ("10m", 600),
        ("1h30m", 5400),
        ("10 minutes", 600),
        ("1 hour 30 minutes", 5400),
        ("250ms", 0.25),
        ("1.5h", 5400),
        ("2 weeks", 1_209_600),
        ("1 day", 86400),
        ("3 secs", 3),
        ("2 mins", 120),
    ],
)
def test_duration(text, seconds):
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text", ["", " ", "10 parsecs", "-5", -1, "1h-", "s", "1e3", "10m\n", "٣s", True, None, "1..5s"]
)
def test_bad_duration(text):
    with pytest.raises(ValueError, match="duration"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        (123, 123),
        ("256Mi", 256 << 20),
        ("1Gi", 1 << 30),
        ("500M", 500_000_000),
        ("1.5Ki", 1536),
        ("2k", 2000),
    ],
)
def test_size(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "Mi", "-1", -1, "1MB", "1 Mi", "1e3", "1Mi\n", True, None])
def test_bad_size(text):
    with pytest.raises(ValueError, match="size"):
        parse_size(text)


@pytest.mark.parametrize("name", ["a", "mail", "A-Z+/;.$_()", "x" * 200])
def test_tube(name):
    assert check_tube(name) == name


@pytest.mark.parametrize("name", ["", "-a", "x" * 201, "a b", "a\n", "ü", "a,b"])
def test_bad_tube(name):
    with pytest.raises(ValueError, match="is no tube name"):
        check_tube(name)


@pytest.mark.parametrize("name", ["tubeherd.", "tubeherd.burials", "tubeherd..", "tubeherd.-"])
def test_reserved_tube(name):
    with pytest.raises(ValueError, match=r"is reserved: names that begin with tubeherd\. are Tubeherd's own"):
        check_tube(name)


@pytest.mark.parametrize("name", ["tubeherd", "Tubeherd.burials", "tubeherd-burials", "my.tubeherd."])
def test_tube_that_only_resembles_a_reserved_one(name):
    assert check_tube(name) == name


@pytest.mark.parametrize(
    ("server", "address", "whole"),
    [
        ("localhost", ("localhost", 11300), "localhost:11300"),
        ("beanstalkd.jobs.svc:1", ("beanstalkd.jobs.svc", 1), "beanstalkd.jobs.svc:1"),
        ("[::1]", ("::1", 11300), "[::1]:11300"),
        ("[fe80::1]:65535", ("fe80::1", 65535), "[fe80::1]:65535"),
    ],
)
def test_server(server, address, whole):
    assert parse_server(server) == address
    assert whole_address(server) == whole


@pytest.mark.parametrize("server", ["", ":1", "a:0", "a:65536", "::1", "[::1", "a b", "a:b", "http://a", "a\n"])
def test_bad_server(server):
    with pytest.raises(ValueError, match="is no server"):
        parse_server(server)


@pytest.mark.parametrize(
    ("address", "parts"),
    [
        ("0.0.0.0:8080", ("0.0.0.0", 8080)),
        ("[::]:1", ("::", 1)),
        ("a.b:65535", ("a.b", 65535)),
        ("8080", ("0.0.0.0", 8080)),
        (":8080", ("0.0.0.0", 8080)),
    ],
)
def test_where_to_listen(address, parts):
    assert parse_listener(address) == parts
    assert LISTENER.matches(address)


@pytest.mark.parametrize(
    "address",
    ["", "127.0.0.1", "localhost", "[::]", ":", "0", "65536", ":0", "a:0", "a:65536", "::1:80", "a b:1", "a:1\n", "80 ",
     "a" * 300 + ":1"],
)  # fmt: skip
def test_nowhere_to_listen(address):
    with pytest.raises(ValueError, match="is neither a port nor an address with a port: write it like 8080,"):
        parse_listener(address)


@pytest.mark.parametrize("written", [DURATION, SIZE, TUBE, LISTENER, SERVER])
def test_text_longer_than_a_pool_takes_is_taken_nowhere(written):
    example = written.examples.partition(",")[0].partition(" or ")[0]
    assert written.matches(example)
    assert not written.matches("1" * (written.max_length + 1))
    assert not written.matches("a" * (written.max_length + 1))


@pytest.mark.parametrize(
    ("written", "parse"),
    [
        (DURATION, parse_duration),
        (SIZE, parse_size),
        (TUBE, check_tube),
        (LISTENER, parse_listener),
        (SERVER, parse_server),
    ],
    ids=["duration", "size", "tube", "address", "server"],
)
def test_examples_are_taken_and_short_enough_for_a_pool(written, parse):
    for example in re.split(", | or ", written.examples):
        text = example.strip("'")
        assert parse(text) is not None
        assert written.matches(text)
        assert len(text) <= written.max_length


texts = st.text(alphabet="0123456789.smhdwKMGTi ecndourtaykl$-+/;()\n", max_size=12) | st.text(max_size=12)


def texts_like(pattern):
    """Make texts of which about half are what the pattern says."""
    return texts | st.from_regex(pattern, fullmatch=True)


@given(st.integers(0, 99), st.integers(0, 99), st.integers(0, 999), st.sampled_from(["", " "]))
def test_duration_of_many_parts_is_their_sum(hours, minutes, seconds, space):
    parts = [f"{hours}{space}h", f"{minutes}{space}minutes", f"{seconds}{space}s"]
    assert parse_duration(space.join(parts)) == hours * 3600 + minutes * 60 + seconds


@given(st.integers(0, 10**12 - 1) | st.floats(0, 1e11))
def test_number_is_a_duration_of_that_many_seconds(number):
    assert parse_duration(number) == number


@given(st.integers(0, 10**9 - 1))
def test_duration_is_written_as_what_is_read_as_the_same(seconds):
    assert parse_duration(format_duration(seconds)) == seconds


@pytest.mark.parametrize(("seconds", "text"), [(0, "0s"), (70, "70s"), (600, "10m"), (5400, "90m"), (86400, "1d")])
def test_duration_is_written_in_its_largest_unit(seconds, text):
    assert format_duration(seconds) == text


@given(st.integers(0, 2**53))
def test_size_in_bytes_is_exact(size):
    assert parse_size(size) == parse_size(str(size)) == size


@given(texts_like(DURATION.pattern))
def test_a_duration_is_what_its_pattern_says(text):
    matches = DURATION.matches(text)
    assert matches == _accepts(parse_duration, text)


@given(texts_like(SIZE.pattern))
def test_a_size_is_what_its_pattern_says(text):
    assert (re.fullmatch(SIZE.pattern, text) is not None) == _accepts(parse_size, text)


@given(texts_like(TUBE.pattern))
def test_a_tube_is_what_its_pattern_says(text):
    matches = re.fullmatch(TUBE.pattern, text) is not None
    assert (matches and not text.startswith(RESERVED)) == _accepts(check_tube, text)


hosts = st.from_regex(r"[a-z0-9.-]{1,20}", fullmatch=True) | st.ip_addresses(v=6).map("[{}]".format)


@given(hosts, st.none() | st.integers(1, 65535))
def test_any_host_and_port_is_a_server(host, port):
    text = host if port is None else f"{host}:{port}"
    assert parse_server(text) == (host.strip("[]"), port or 11300)


@given(st.text(max_size=20) | st.builds("{}:{}".format, hosts | st.text(max_size=9), st.integers(-9, 70_000)))
def test_a_server_is_a_host_and_a_port_or_a_clear_error(text):
    if _accepts(parse_server, text):
        host, port = parse_server(text)
        assert host
        assert 0 < port < 65536


def _accepts(parse, text):
    try:
        parse(text)
    except ValueError:
        return False
    return True
