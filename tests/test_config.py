"""The settings: what is allowed, what is refused, and in which words."""

import os

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from corecache.config import DECLARATIONS, Config, ConfigError, parse
from corecache.declaration import Declaration

NUMBERS = [declaration for declaration in DECLARATIONS if not declaration.is_text]
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.dates(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


def by_path(declaration: Declaration) -> str:
    """Returns the name that a parametrized test shows."""
    return declaration.path


def refusal(settings: dict[str, object]) -> str:
    """Returns the error that settings are refused with, which is one line."""
    with pytest.raises(ConfigError) as caught:
        parse(settings)
    message = str(caught.value)
    assert message.isprintable(), "an error is one line"
    return message


def test_nothing_set_is_all_defaults() -> None:
    """An empty mapping gives the defaults, and the defaults fit each other."""
    assert parse({}) == Config()
    assert parse(msgspec.to_builtins(Config())) == Config()


def test_what_is_set_arrives_and_the_rest_stays() -> None:
    """A setting changes itself and nothing else."""
    config = parse({"storage": {"memory_bytes": 2**26}, "node": {"id": "n-1"}})
    assert (config.storage.memory_bytes, config.node.id) == (2**26, "n-1")
    assert config.http == Config().http


@pytest.mark.parametrize("declaration", DECLARATIONS, ids=by_path)
def test_every_setting_is_described_and_bounded(declaration: Declaration) -> None:
    """Every setting has a sentence, a default within what is allowed, and a number has both bounds."""
    assert declaration.description[-1] in ".…"
    assert declaration.accepts(declaration.default)
    assert declaration.allowed
    if not declaration.is_text:
        assert declaration.least is not None
        assert declaration.most is not None
        assert declaration.least < declaration.most


@pytest.mark.parametrize("declaration", NUMBERS, ids=by_path)
def test_a_number_beyond_its_bounds_is_refused_with_them(declaration: Declaration) -> None:
    """Both bounds are allowed; one less and one more are refused by a line that has name, value and bounds."""
    assert declaration.least is not None
    assert declaration.most is not None
    assert declaration.accepts(declaration.least)
    assert declaration.accepts(declaration.most)
    for value in (declaration.least - 1, declaration.most + 1):
        message = refusal({declaration.section: {declaration.name: value}})
        assert message.startswith(f"{declaration.path} = {value}: must be a whole number ")
        assert f"{declaration.least:,}" in message or str(declaration.least) in message


@pytest.mark.parametrize("declaration", NUMBERS, ids=by_path)
def test_only_a_whole_number_is_a_number(declaration: Declaration) -> None:
    """A bool, a float, a string and a list are refused where a number is wanted, even if they look like one."""
    for value in (True, float(declaration.default), str(declaration.default), [declaration.default], None):  # type: ignore[arg-type]
        assert refusal({declaration.section: {declaration.name: value}}).startswith(f"{declaration.path} = ")


@pytest.mark.parametrize("value", [5, True, None, ["x"], {"x": "y"}])
def test_only_a_string_is_text(value: object) -> None:
    """A number, a bool or a table is refused where text is wanted."""
    for declaration in DECLARATIONS:
        if declaration.is_text:
            refusal({declaration.section: {declaration.name: value}})


def test_choices_are_named() -> None:
    """A word that is no choice is refused with all choices."""
    assert refusal({"log": {"level": "loud"}}) == (
        'log.level = "loud": must be "debug" or "info" or "warning" or "error"'
    )


@pytest.mark.parametrize("name", ["a b", "ü", "-a", "a/b", "a\n", "a" * 64, "\x00"])
def test_a_name_is_plain(name: str) -> None:
    """A node's and a cluster's name have plain characters only: a line break at the end is not overlooked."""
    assert "letters, digits" in refusal({"node": {"id": name}})
    assert "letters, digits" in refusal({"cluster": {"name": name}})


@pytest.mark.parametrize("text", ["", "a\x00b", "a\n", "\x1b[2J", "\x7f", "\u2028", os.fsdecode(b"\xff\xfa")])
def test_what_is_handed_to_the_system_is_plain_text(text: str) -> None:
    """A directory or address that is empty, has a control character or is not UTF-8 is refused by name."""
    for section, name in (("node", "data_dir"), ("http", "host")):
        message = refusal({section: {name: text}})
        assert message.startswith(f"{section}.{name} = ")
        assert message.endswith("must be UTF-8 text that is not empty, without control characters")


def test_a_directory_may_have_any_letters() -> None:
    """Spaces, letters of any language and signs are for the file system to judge."""
    assert parse({"node": {"data_dir": "../schöne Daten/数据 'x'"}}).node.data_dir == "../schöne Daten/数据 'x'"


def test_a_node_may_be_unnamed_and_a_cluster_may_not() -> None:
    """The empty name stands for a drawn one, which only nodes have."""
    assert parse({"node": {"id": ""}}).node.id == ""
    refusal({"cluster": {"name": ""}})


@pytest.mark.parametrize(
    ("settings", "meant"),
    [
        ({"storage": {"memory": 5}}, "storage.memory_bytes"),
        ({"storage": {"Memory_Bytes": 5}}, "storage.memory_bytes"),
        ({"storage": {"port": 5}}, "http.port"),
        ({"stoarge": {"memory_bytes": 5}}, "storage"),
        ({"Storage": {"memory_bytes": 5}}, "storage"),
        ({"STORAGE": {}}, "storage"),
        ({"memory_bytes": 5}, "storage.memory_bytes"),
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest(settings: dict[str, object], meant: str) -> None:
    """A name that is misspelt, in another case or in the wrong section is refused, and the right one suggested."""
    message = refusal(settings)
    assert "there is no such setting" in message
    assert message.endswith(f"did you mean {meant}?")


def test_an_unknown_name_like_no_other_is_refused_with_a_page() -> None:
    """A name that resembles none is refused with the place where all are."""
    for section, name in (("node", "qqqqqqqqqqqqqqqqqqq"), ("node", "foo"), ("http", "foo")):
        assert refusal({section: {name: 1}}).endswith("docs/configuration.md lists them all")


def test_a_section_is_a_table() -> None:
    """A value where a section is expected is refused with how a section is begun."""
    assert refusal({"storage": 5}) == "storage = 5: must be a table, which a file begins with [storage]"


@pytest.mark.parametrize(
    ("settings", "low", "high"),
    [
        ({"http": {"port_range_first": 8100}}, "http.port_range_first", "http.port_range_last"),
        ({"http": {"request_timeout_max_ms": 4999}}, "http.request_timeout_ms", "http.request_timeout_max_ms"),
        ({"limits": {"value_bytes_max": 65 * 2**20}}, "limits.value_bytes_max", "resp.request_bytes_max"),
        ({"limits": {"batch_bytes_max": 129 * 2**20}}, "limits.batch_bytes_max", "http.buffered_bytes_max"),
        ({"limits": {"page_bytes_max": 129 * 2**20}}, "limits.page_bytes_max", "http.buffered_bytes_max"),
        ({"storage": {"slow_level0_files": 4}}, "storage.compact_level0_files", "storage.slow_level0_files"),
        ({"storage": {"stop_level0_files": 20}}, "storage.slow_level0_files", "storage.stop_level0_files"),
        ({"storage": {"flush_memtable_bytes": 2**30}}, "storage.flush_memtable_bytes", "storage.memory_bytes"),
        ({"storage": {"disk_bytes": 256 * 2**20}}, "storage.disk_reserve_bytes", "storage.disk_bytes"),
    ],
)
def test_settings_that_do_not_fit_each_other_are_refused(settings: dict[str, object], low: str, high: str) -> None:
    """Each in its range, but not together: the line names both and their values."""
    message = refusal(settings)
    assert message.startswith(f"{low} = ")
    assert f" {high}, which is " in message


@pytest.mark.parametrize(
    ("advertised", "listens", "named"),
    [("db1", "127.0.0.1", "link.host"), ("10.0.0.1", "::1", "link.host"), ("", "0.0.0.0", "node.advertise_host")],
)
def test_what_other_machines_could_not_reach_is_refused(advertised: str, listens: str, named: str) -> None:
    """Of a cluster's node; one that is alone may listen and be called as it likes."""
    settings: dict[str, dict[str, object]] = {"node": {"advertise_host": advertised}, "link": {"host": listens}}
    parse(settings)
    assert f"set {named}" in refusal({**settings, "coordination": {"zookeeper": "zk1:2181"}})


@pytest.mark.parametrize(
    ("advertised", "listens"),
    [
        ("", "127.0.0.1"),
        ("localhost", "127.0.0.1"),
        ("127.0.0.2", "127.0.0.2"),
        ("db1", "0.0.0.0"),
        ("db1", "10.0.0.1"),
    ],
)
def test_what_other_nodes_may_reach_is_accepted(advertised: str, listens: str) -> None:
    """On one machine, and on several."""
    parse(
        {
            "node": {"advertise_host": advertised},
            "link": {"host": listens},
            "coordination": {"zookeeper": "zk1:2181"},
        }
    )


def test_what_just_fits_is_accepted() -> None:
    """The edge of each relation is on the right side of it."""
    parse({"http": {"port_range_first": 8099, "request_timeout_ms": 60_000}})
    parse({"storage": {"compact_level0_files": 19, "stop_level0_files": 21, "disk_bytes": 256 * 2**20 + 1}})
    parse({"limits": {"value_bytes_max": 64 * 2**20}})


def test_a_long_value_is_cut_and_a_strange_one_escaped() -> None:
    """An error stays one short line, whatever was set."""
    assert len(refusal({"http": {"port": "x" * 10_000}})) < 150
    assert len(refusal({"http": {"port": 1 << 100_000}})) < 150
    assert "\\x1b" in refusal({"http": {"port": "\x1b[2J"}})


@given(st.dictionaries(st.sampled_from(["node", "http", "log"]) | st.text(), anything, max_size=3))
def test_any_mapping_is_parsed_or_refused(settings: dict[str, object]) -> None:
    """Whatever the mapping, there is a configuration or the one declared error, in one line."""
    try:
        parse(settings)
    except ConfigError as error:
        assert str(error).isprintable()


@given(st.sampled_from(DECLARATIONS), anything)
def test_any_value_is_taken_as_it_is_or_refused(declaration: Declaration, value: object) -> None:
    """Whatever the value, it arrives unchanged or is refused by name, or does not fit another setting."""
    try:
        config = parse({declaration.section: {declaration.name: value}})
    except ConfigError as error:
        assert str(error).isprintable()
    else:
        arrived = getattr(getattr(config, declaration.section), declaration.name)
        assert (arrived, type(arrived)) == (value, type(value))
