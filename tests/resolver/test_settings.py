"""The settings file: defaults, refusals that name the thing, and the text that init writes."""

from __future__ import annotations

import contextlib
from dataclasses import fields, replace

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from protocol.errors import SettingsError
from resolver.config import NodeSettings, Settings
from resolver.config_file import FILE_NAME, format_settings, load_settings, parse_settings

LEAST = Settings(node=NodeSettings(prefix="88"))


def test_what_is_left_out_has_its_default():
    """A file that names only the prefix gives the default tree."""
    assert parse_settings('[node]\nprefix = "88"\n') == LEAST


def test_the_written_file_reads_back_the_same():
    """format_settings and parse_settings are inverse."""
    tree = replace(
        LEAST,
        node=replace(LEAST.node, hosts=("127.0.0.1", "::1"), description='a "quoted" \\ 钢铁'),
        faces=replace(LEAST.faces, irp=0, dns=5353, https=None),
    )
    assert parse_settings(format_settings(tree)) == tree


def test_every_setting_is_explained_in_the_file():
    """Each line with a value follows a comment."""
    lines = format_settings(LEAST).splitlines()
    for number, line in enumerate(lines):
        if line and not line.startswith("#"):
            assert lines[number - 1].startswith("#"), line


def test_every_field_has_an_explanation():
    """No setting is left without words."""
    for part in fields(Settings):
        for item in fields(getattr(LEAST, part.name)):
            assert item.metadata["help"].strip(), f"{part.name}.{item.name}"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[nodes]", "no section 'nodes'; the nearest one is 'node'"),
        ('[node]\nprefx = "8"', "no setting 'node.prefx'; the nearest one is 'node.prefix'"),
        ("[faces]\nirp = 70000", "faces.irp = 70000 is out of range: at least 0 and at most 65535"),
        ('[faces]\nirp = "on"', 'neither a port number, 0 (any free one) nor "off"'),
        ("[faces]\nirp = true", "neither a port number"),
        ('[node]\nrole = "boss"', "none of top, second, enterprise, recursive"),
        ("[processes]\nuvloop = 1", "is not true or false"),
        ('[limits]\nidle_s = "x"', "is not a number"),
        ("[node]\nhosts = 1", "is not a list"),
        ("[node]\nhosts = [1]", "is not text in quotes"),
        ('[node]\nprefix = "8"\nhosts = ["localhost"]', "'localhost' is no IP address"),
        ('[node]\nprefix = "8"\nhosts = []', "node.hosts is empty"),
        ('[node]\nrole = "top"', "node.prefix is empty"),
        ('[node]\nprefix = "8/1"', "is no prefix"),
        ('[node]\nprefix = "8"\nparent = "ftp://x"', "node.parent = 'ftp://x' is no address"),
        ('[node]\nprefix = "8"\n[outbound]\nallow = ["10.0.0.1/8"]', "is no network"),
        ("node = 1", "node is a section"),
        ("[node", "is not TOML"),
        (
            '[node]\nprefix = "8"\n[faces]\nirp = "off"\nhttp = "off"\nhttps = "off"\ndns = "off"',
            "every port under [faces] is off",
        ),
    ],
)
def test_a_wrong_setting_is_named_with_its_value_and_the_next_step(text, told):
    """A wrong file is refused in words that point at the line."""
    with pytest.raises(SettingsError) as refused:
        parse_settings(text)
    assert told in str(refused.value)


def test_whole_numbers_do_where_a_number_is_wanted():
    """5 is as good as 5.0 for seconds."""
    assert parse_settings('[node]\nprefix = "8"\n[limits]\nidle_s = 5').limits.idle_s == 5.0


def test_a_folder_without_a_file_names_the_command_that_makes_one(tmp_path):
    """The message says how to make a node's folder."""
    with pytest.raises(SettingsError, match="biaoshi init"):
        load_settings(tmp_path)


def test_a_file_that_is_no_text_is_refused(tmp_path):
    """Octets that are not UTF-8 are no settings."""
    (tmp_path / FILE_NAME).write_bytes(b"\xff\xfe")
    with pytest.raises(SettingsError, match="cannot be read"):
        load_settings(tmp_path)


@given(st.text(max_size=200))
@hypothesis_settings(max_examples=100, deadline=None)
def test_any_text_is_settings_or_refused(text):
    """Any text reads as settings or raises SettingsError, nothing else."""
    with contextlib.suppress(SettingsError):
        parse_settings(text)


def test_a_table_of_text():
    """`verify_prefixes` is a table whose values are checked one by one, and reads back."""
    text = '[node]\nprefix = "88"\n[recursion]\nverify_prefixes = { "88.1" = "required" }\n'
    tree = parse_settings(text)
    assert tree.recursion.verify_prefixes == (("88.1", "required"),)
    assert parse_settings(format_settings(tree)) == tree
    section = '[node]\nprefix = "88"\n[recursion.verify_prefixes]\n"88.1" = "required"\n'
    assert parse_settings(section) == tree
    for wrong, told in (
        ('{ "88.1" = "always" }', 'verify_prefixes."88.1" = "always" is none of off'),
        ('"required"', "is not a table"),
    ):
        with pytest.raises(SettingsError, match="verify_prefixes") as caught:
            parse_settings(f'[node]\nprefix = "88"\n[recursion]\nverify_prefixes = {wrong}\n')
        assert told in str(caught.value)
