"""The texts of enrolment: what proves an application, what makes an answer believed."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from protocol.errors import BiaoshiError, ParseError, SignatureInvalid
from protocol.jws import sign_jws
from protocol.keys import encode_public_key
from protocol.values.hs_site import Interface, Server, Site, address_octets
from registry.keys import NodeKeys
from registry.prefix_record import Holder, delegated_values, own_issuer
from resolver.enrol import (
    Answer,
    Application,
    application_of,
    check_prefix,
    fingerprint,
    format_answer,
    format_application,
    parse_answer,
    parse_application,
    same_keys,
)
from resolver.parent import Pinned, published_values

NOW = 1_790_000_000
CHILD = NodeKeys(generate_private_key(65537, 2048), Ed25519PrivateKey.generate())
PARENT = NodeKeys(generate_private_key(65537, 2048), Ed25519PrivateKey.generate())
OTHER = NodeKeys(generate_private_key(65537, 2048), Ed25519PrivateKey.generate())
AUDIENCE = fingerprint(PARENT.site_public)
SITE = Site(
    servers=(
        Server(
            1,
            address_octets("127.0.0.1"),
            encode_public_key(CHILD.site_public),
            (Interface(3, 1, 2641),),
        ),
    )
)
APPLICATION = Application(
    prefix=b"88.118",
    sites=(SITE,),
    site_key=CHILD.site_public,
    log_key=CHILD.log_public,
    has_secret=True,
    issued=NOW,
    audience=AUDIENCE,
    contact="ops@example.org",
    description="钢铁",
)
PINNED = Pinned("http://127.0.0.1:1", b"88", PARENT.site_public)


def _published(keys=CHILD, signer=PARENT, prefix=b"88.118", own=b"88"):
    holder = Holder(prefix, (SITE,), keys.site_public, keys.log_public)
    return delegated_values(holder, own_issuer(signer, own), now_s=NOW)


def _answer(**changes):
    answer = Answer(b"88", PARENT.site_public, b"88.118", "delegated", NOW, "", _published())
    return replace(answer, **changes)


def test_an_application_survives_the_way():
    """What was asked is what is read, from the text and from the parent's row."""
    data = format_application(APPLICATION, CHILD.site_private)
    read = parse_application(data, now=NOW, audience=AUDIENCE)
    assert read.attributes() == APPLICATION.attributes()
    assert application_of(b"88.118", read.attributes()).attributes() == APPLICATION.attributes()


@pytest.mark.parametrize(
    ("changes", "signer", "told"),
    [
        ({}, OTHER, "signature does not hold"),
        ({"issued": NOW - 3600}, CHILD, "clocks"),
        ({"issued": NOW + 3600}, CHILD, "clocks"),
        ({"audience": "SHA256:x"}, CHILD, "meant for the node with key"),
        ({"site_key": OTHER.site_public}, CHILD, "another key than the request"),
        ({"sites": ()}, CHILD, "one site"),
        ({"sites": (Site(),)}, CHILD, "one site"),
        ({"contact": "a\nb"}, CHILD, "lacks or garbles"),
        ({"contact": "x" * 501}, CHILD, "lacks or garbles"),
    ],
)
def test_an_application_that_does_not_hold_is_refused(changes, signer, told):
    """Another key, another time, another addressee, or facts that do not fit together."""
    data = format_application(replace(APPLICATION, **changes), signer.site_private)
    with pytest.raises((SignatureInvalid, ParseError), match=told):
        parse_application(data, now=NOW, audience=AUDIENCE)


def test_a_text_for_another_purpose_is_no_application():
    """A signature of the site key over something else cannot be turned into a request."""
    payload = json.dumps({"typ": "other", "prefix": "88.118"}).encode()
    with pytest.raises(ParseError, match="no delegation request"):
        parse_application(sign_jws(payload, CHILD.site_private), now=NOW, audience=AUDIENCE)


@given(st.binary(max_size=300) | st.text(max_size=300).map(str.encode))
@hypothesis_settings(max_examples=200, deadline=None)
def test_any_octets_are_an_application_or_refused(data):
    """Any octets parse or raise an error of the tree, nothing else."""
    for parse in (
        lambda: parse_application(data, now=NOW, audience=AUDIENCE),
        lambda: parse_answer(data, None),
    ):
        with pytest.raises(BiaoshiError):
            parse()


@given(
    st.fixed_dictionaries(
        {"typ": st.just("biaoshi-delegation-request")},
        optional={
            name: st.one_of(st.none(), st.integers(), st.text(max_size=5), st.lists(st.text()))
            for name in ("prefix", "keys", "sites", "iat", "aud", "contact", "secret")
        },
    )
)
@hypothesis_settings(max_examples=200, deadline=None)
def test_any_signed_object_is_an_application_or_refused(payload):
    """A well-signed text of any content parses or raises an error of the tree."""
    data = sign_jws(json.dumps(payload).encode(), CHILD.log_private)
    with pytest.raises(BiaoshiError):
        parse_application(data, now=NOW, audience=AUDIENCE)


@pytest.mark.parametrize("text", ["88", "88.118.8", "86.999", "20.500.12345", "AbC", "例.1"])
def test_prefixes_are_folded(text):
    """ASCII letters are upper-cased, nothing else is changed."""
    assert check_prefix(text) == text.encode().upper()


def test_keys_are_compared_whole():
    """A row with another key, or with no keys, is not the applicant's."""
    other = replace(APPLICATION, log_key=OTHER.log_public)
    assert same_keys(APPLICATION.attributes(), APPLICATION)
    assert not same_keys(other.attributes(), APPLICATION)
    assert not same_keys({}, APPLICATION)


def test_an_answer_is_believed_when_the_pinned_key_signed_it():
    """The key in the answer must be the pinned one and must have signed."""
    data = format_answer(_answer(), PARENT.site_private)
    assert parse_answer(data, PARENT.site_public) == parse_answer(data, None) == _answer()
    with pytest.raises(SignatureInvalid, match="was expected"):
        parse_answer(data, OTHER.site_public)
    forged = format_answer(_answer(), OTHER.site_private)
    with pytest.raises(SignatureInvalid, match="does not hold"):
        parse_answer(forged, PARENT.site_public)


def test_the_published_record_is_taken_when_all_of_it_holds():
    """Our keys, a site, and the parent's signature over the whole."""
    values = published_values(_answer(), PINNED, CHILD, b"88.118", NOW)
    assert {value.index for value in values} >= {1, 300, 302, 400, 402, 410}


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (_answer(state="requested"), "not the delegation"),
        (_answer(prefix=b"88.119"), "not the delegation"),
        (_answer(values=_published(keys=OTHER)), "does not carry our key 300"),
        (_answer(values=_published(signer=OTHER)), "signature does not hold"),
        (_answer(values=_published(own=b"89")), "not signed by 300:0.NA/88"),
        (_answer(values=_published()[:-1]), "not signed by"),
        (_answer(values=_published()[1:]), "names no site"),
        (_answer(values=tuple(v for v in _published() if v.index != 302)), "key 302"),
        (
            _answer(values=tuple(replace(v, ttl=1) if v.index == 1 else v for v in _published())),
            "changed",
        ),
    ],
)
def test_a_record_that_is_not_ours_is_not_taken(answer, told):
    """Another state, prefix, key, signer or site: the child stays where it is."""
    with pytest.raises(SignatureInvalid, match=told):
        published_values(answer, PINNED, CHILD, b"88.118", NOW)
