"""Addresses and blocks: the standard library's own module as the oracle, and ways around a rule."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pdp.authoring.checker import Checker
from pdp.cel.library import network
from pdp.cel.opaque import CIDR, IP
from pdp.cel.values import CelError
from pdp.checked_expr import decode
from tests.cel_library import ERROR, assert_refused, assert_value, evaluate, meter, units
from tests.cel_tiers import Tiers

ADDRESSES = st.ip_addresses()
# No mapped ones: they are IPv4 to us.
UNMAPPED = ADDRESSES.filter(lambda a: a.version == 4 or a.ipv4_mapped is None)


@pytest.fixture(scope="module")
def checker() -> Iterator[Checker]:
    """One child for the module."""
    with Checker() as made:
        yield made


@st.composite
def networks(draw: st.DrawFn) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    """Blocks of either family, their host bits cleared."""
    address = draw(UNMAPPED)
    prefix = draw(st.integers(0, address.max_prefixlen))
    made = ipaddress.ip_network(f"{address}/{prefix}", strict=False)
    # Clearing the host bits may have left the start of the mapped block.
    if made.version == 6 and made.network_address.ipv4_mapped is not None:
        made = ipaddress.ip_network("::/0")
    return made


# -- the oracle ----------------------------------------------------------------


@given(UNMAPPED)
def test_an_address_reads_back_as_it_was_written(address: Any) -> None:
    """Canonical text in, the same text out, number and family those of `ipaddress`."""
    made = network.read_ip(str(address))
    assert (made.value, made.bits) == (int(address), address.max_prefixlen)
    assert str(made) == str(address)
    assert network.is_canonical(str(address), meter())


@given(networks(), UNMAPPED)
def test_containment_is_what_the_standard_library_says(block: Any, address: Any) -> None:
    """An address is in a block exactly if `ipaddress` says so; families never mix."""
    made = network.read_cidr(str(block))
    ends = (block.network_address, block.broadcast_address)
    for one in (address, *(end for end in ends if getattr(end, "ipv4_mapped", None) is None)):
        expected = one.version == block.version and one in block
        assert network.contains_ip(made, str(one), meter()) is expected
        assert network.contains_ip(made, network.read_ip(str(one)), meter()) is expected


@given(networks(), networks())
def test_a_block_contains_exactly_its_subnets(outer: Any, inner: Any) -> None:
    """`containsCIDR` is `subnet_of`, and every block contains itself."""
    made, other = network.read_cidr(str(outer)), network.read_cidr(str(inner))
    expected = inner.version == outer.version and inner.subnet_of(outer)
    assert network.contains_cidr(made, other, meter()) is expected
    assert network.contains_cidr(made, str(inner), meter()) is expected
    assert network.contains_cidr(made, made, meter())


@given(ADDRESSES)
def test_classes_of_addresses_are_those_of_the_standard_library(address: Any) -> None:
    """Loopback, unspecified, multicast and link-local agree with `ipaddress`."""
    made = network.read_ip(address.exploded)
    plain = getattr(address, "ipv4_mapped", None) or address
    assert network._is_loopback(made) is plain.is_loopback
    assert network._is_unspecified(made) is plain.is_unspecified
    assert network._is_multicast(made) is plain.is_multicast
    assert network._is_link_local_unicast(made) is plain.is_link_local


@given(st.one_of(ADDRESSES.map(str), st.text("0123456789.", max_size=16)))
@example("1.2.3.4")
@example("01.2.3.4")
@example("255.255.255.255")
@example("256.1.1.1")
def test_the_table_of_octets_reads_what_the_standard_library_reads(text: str) -> None:
    """Four octets by table are the address of `ipaddress`, or none and read the long way."""
    found = network._four_octets(text)
    try:
        want = int(ipaddress.IPv4Address(text))
    except ValueError:
        want = None
    assert found == want


HELD = ["10.1.2.3", "11.1.2.3", "::ffff:a01:203", "::1", "10.1.2", "10.01.2.3", 7, None, ["x"]]


@pytest.mark.parametrize("block", ["10.0.0.0/8", "0.0.0.0/0", "10.1.2.3/32", "::/0", "::1/128"])
def test_a_block_of_the_policy_holds_what_the_function_says(checker: Checker, block: str) -> None:
    """Written in one for a known block, the fast tier gives the exact value and charge."""
    source = f"cidr('{block}').containsIP(ip(d))"
    tiers = Tiers(decode(checker.check(source, {"d": "dyn"}).checked_expr, source))
    answered = 0
    for operand in HELD:
        want = tiers.exact({"d": operand})
        for fold in (True, False):
            got = tiers.fast({"d": operand}, fold=fold)
            assert got == want if got.kind == "value" else want.kind == "error"
            answered += got.kind == "value"
    assert answered == 8


# -- ways around a rule ----------------------------------------------------------


NOT_ADDRESSES = [
    "", " 10.0.0.1", "10.0.0.1 ", "10.0.0.1\n", "010.0.0.1", "10.0.0.01", "10.0.0.256", "10.0.0",
    "10.0.0.0.1", "10.1", "167772161", "0x0a000001", "10.0.0.0x1", "10.0.0.1/32", "10.0.0.1:80",
    "10.0.0.1\x00", "\x0010.0.0.1", "10.0.0.+1", "10.0.0.-1", "10.0.0.1e0", "\uff11\uff10.0.0.1",
    "\u0663.0.0.1", "10\u30020\u30020\u30021", "localhost",
    "[::1]", "::1%lo", "fe80::1%25eth0", ":::", "1::2::3",
    "::ffff:10.0.0.1", "0:0:0:0:0:ffff:10.0.0.1", "::FFFF:10.0.0.1", "12345::", "::g",
    "1:2:3:4:5:6:7", "1:2:3:4:5:6:7:8:9", "1:2:3:4:5:6:7:8::", "::1.2.3", "::01.2.3.4", "1" * 65,
    "0" * 1_000_000,
]  # fmt: skip


@pytest.mark.parametrize("text", NOT_ADDRESSES, ids=lambda text: text[:20])
def test_an_address_that_is_spelled_oddly_is_an_error(checker: Checker, text: str) -> None:
    """Octal, hexadecimal, short, zoned, mapped, padded: none is an address, nor inside a block."""
    assert evaluate(checker, "isIP(d)", d=text) is False
    assert evaluate(checker, "ip(d)", d=text) is ERROR
    assert evaluate(checker, "ip.isCanonical(d)", d=text) is ERROR
    assert evaluate(checker, "cidr('0.0.0.0/0').containsIP(d)", d=text) is ERROR


@pytest.mark.parametrize(
    "text",
    ["10.0.0.0", "10.0.0.0/", "/8", "10.0.0.0/33", "10.0.0.0/08", "10.0.0.0/+8", "10.0.0.0/-1",
     "10.0.0.0/8/8", "10.0.0.0/8 ", "10.0.0.0/\u0668",
     "::/129", "::ffff:c0a8:0/112", "fe80::%eth0/10",
     "::ffff:10.0.0.0/104", "10.0.0.0/255.0.0.0", "10.0.0/8", "10.0.0.0/8\x00",
     "10.0.0.0/" + "8" * 99],
)  # fmt: skip
def test_a_block_that_is_spelled_oddly_is_an_error(checker: Checker, text: str) -> None:
    """Also where the standard library would take it, such as a mask in place of a prefix."""
    assert evaluate(checker, "isCIDR(d)", d=text) is False
    assert evaluate(checker, "cidr(d)", d=text) is ERROR
    assert evaluate(checker, "cidr('0.0.0.0/0').containsCIDR(d)", d=text) is ERROR


@given(st.ip_addresses(v=4), st.integers(0, 32))
def test_a_mapped_address_cannot_walk_around_a_rule_about_ipv4(address: Any, prefix: int) -> None:
    """`::ffff:a00:1` is 10.0.0.1: in the same blocks, of the same family, equal."""
    high, low = divmod(int(address), 1 << 16)
    for mapped in (f"::ffff:{high:x}:{low:x}", f"0:0:0:0:0:FFFF:{high:04X}:{low:04X}"):
        made = network.read_ip(mapped)
        assert made == network.read_ip(str(address))
        assert str(made) == str(address)
        block = network.read_cidr(f"{address}/{prefix}")
        assert network.contains_ip(block, mapped, meter())
        assert not network.contains_ip(network.read_cidr("::/0"), mapped, meter())
        assert not network.is_canonical(mapped, meter())


def test_a_mapped_address_twin_without_guard(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without taking mapped addresses for what they are, one would be outside every IPv4 block."""
    monkeypatch.setattr(network, "_MAPPED", -1)
    block = network.read_cidr("0.0.0.0/0")
    assert not network.contains_ip(block, "::ffff:a00:1", meter())


@given(st.text(max_size=70) | st.text("0123456789abcdefABCDEF:./%x ", max_size=50))
@example("::ffff:0:0/96")
@example("0.0.0.0/0")
def test_any_text_is_an_address_a_block_or_an_error(text: str) -> None:
    """Fuzz: what is read reads back as itself, and nothing but `CelError` comes out."""
    for read, kind in ((network.read_ip, IP), (network.read_cidr, CIDR)):
        try:
            made = read(text)
        except CelError:
            continue
        assert type(made) is kind
        assert read(str(made)) == made


# -- in conditions ---------------------------------------------------------------


CASES: list[tuple[str, dict[str, Any], Any]] = [
    ("cidr('10.0.0.0/8').containsIP(d.ip)", {"d": {"ip": "10.1.2.3"}}, True),
    ("cidr('10.0.0.0/8').containsIP(d.ip)", {"d": {"ip": 7}}, ERROR),
    ("cidr('10.0.0.0/8').containsIP(d)", {"d": "2001:db8::1"}, False),
    ("[cidr('10.0.0.0/8'), cidr('::1/128')].exists(c, c.containsIP(d))", {"d": "::1"}, True),
    ("ip(d) in [ip('::1'), ip('10.0.0.1')]", {"d": "::ffff:a00:1"}, True),
    ("ip(d) == cidr('10.0.0.1/8').ip()", {"d": "10.0.0.1"}, True),
    ("dyn(ip(d)) == dyn('10.0.0.1')", {"d": "10.0.0.1"}, False),
    ("dyn(ip('10.0.0.1')) == dyn(cidr('10.0.0.1/32'))", {}, False),
    ("{'a': ip(d)}['a'].family()", {"d": "::1"}, 6),
    ("{dyn(ip(d)): 1}", {"d": "::1"}, ERROR),
    ("dyn(ip(d)) < dyn(ip(d))", {"d": "::1"}, ERROR),
    ("string(ip(d))", {"d": "2001:DB8:0:0:1:0:0:1"}, "2001:db8::1:0:0:1"),
    ("string(cidr(d).masked())", {"d": "10.1.2.3/8"}, "10.0.0.0/8"),
    ("string(cidr(d))", {"d": "10.1.2.3/8"}, "10.1.2.3/8"),
    ("cidr(d).prefixLength()", {"d": "::/0"}, 0),
    ("type(ip(d)) == net.IP && type(cidr('::/0')) != net.IP", {"d": "::1"}, True),
    ("ip(d).isGlobalUnicast()", {"d": "10.0.0.1"}, True),
    ("ip(d).isGlobalUnicast()", {"d": "::ffff:7f00:1"}, False),
    ("d.family()", {"d": "10.0.0.1"}, ERROR),
    ("size(d)", {"d": "::1"}, 3),
]


@pytest.mark.parametrize(("source", "names", "want"), CASES)
def test_network_functions_in_conditions(
    checker: Checker, source: str, names: dict[str, Any], want: Any
) -> None:
    """Both tiers, one value, one charge."""
    assert_value(checker, source, names, want)


@pytest.mark.parametrize(
    ("source", "column", "words"),
    [
        ("cidr('10.0.0.0/33').containsIP(s)", 6, "not a block of IP addresses"),
        ("s == 'a' && ip('10.0.0.256') == ip(s)", 16, "not an IP address"),
        ("cidr('10.0.0.0/8').containsIP('10.0.0')", 31, "not an IP address"),
        ("cidr('10.0.0.0/8').containsCIDR('10.0.0.0')", 33, "not a block"),
        ("cidr('10.0.0.0/8').containsIP(7)", 30, "`containsIP` cannot take"),
        ("isIP(cidr('10.0.0.0/8'))", 5, "`isIP` cannot take `net.CIDR`"),
        ("ip(s) == s", 7, "`==` cannot take `net.IP` and `string`"),
        ("ip(s).address", 6, "has no fields"),
        ("cidr(s).containsIp(s)", 19, "`containsIp` is not defined"),
    ],
)
def test_a_mistake_is_found_when_the_policy_is_built(
    checker: Checker, source: str, column: int, words: str
) -> None:
    """Wrong types, wrong names and literals that can never be right: with their place."""
    error = assert_refused(checker, source, column, words)
    if "containsIp" in source:
        assert error.suggestion == "did you mean `containsIP`?"


def test_a_literal_is_read_once(checker: Checker) -> None:
    """A block written in the policy costs nothing but its nodes; a computed one is charged."""
    literal, computed = (
        units(checker, f"cidr({block}).containsIP(d)", d="10.0.0.1")
        for block in ("'10.0.0.0/8'", "dyn('10.0.0.0/8')")
    )
    assert (literal, computed) == (4 + 10, 5 + 20)
