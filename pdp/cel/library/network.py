"""IP addresses and blocks of them: CEL's network extension.

Source of the rules: cel-go's `ext/network.go` and the specification's cases.
Texts are read strictly: four decimal octets without leading zeros, no zone, no
dotted IPv4 inside an IPv4-mapped IPv6 address. The same address spelled in
hexadecimal, `::ffff:c0a8:1`, is the IPv4 address it stands for, so that it
cannot walk around a rule about IPv4; a block of such addresses is refused.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable

from pdp.cel.cost import Meter, charge
from pdp.cel.library.reading import can_be_read, part_of
from pdp.cel.library.signatures import define, make_library
from pdp.cel.opaque import CIDR, IP, IPV4_BITS, IPV6_BITS, NAMES
from pdp.cel.values import CelError, Datum, no_overload

# Reading a text takes 1 to 3 microseconds, whatever is in it.
_READ_UNITS = 10
# Of an address with a zone or a prefix too; longer texts are refused unread.
_TEXT_MAX = 64
_PREFIX = re.compile(r"0|[1-9][0-9]{0,2}", re.ASCII)
_MAPPED = 0xFFFF
_BROADCAST = 2**32 - 1
_IPV4_TEXT_MAX = len("255.255.255.255")
# Every spelling of an octet there is: no leading zeros, no other digits than those of ASCII.
_OCTETS = {str(value): value for value in range(256)}


# -- reading -----------------------------------------------------------------


def _four_octets(text: str) -> int | None:
    """An IPv4 address by table, three times as fast; whatever is not one goes the long way."""
    if len(text) > _IPV4_TEXT_MAX:
        return None
    try:
        first, second, third, fourth = text.split(".")
        return _OCTETS[first] << 24 | _OCTETS[second] << 16 | _OCTETS[third] << 8 | _OCTETS[fourth]
    except (ValueError, KeyError):
        return None


def _read_address(text: str) -> tuple[IP, bool]:
    """The address, and whether it was written as an IPv4-mapped IPv6 address."""
    if (value := _four_octets(text)) is not None:
        return IP(value, IPV4_BITS), False
    if "%" in text[: _TEXT_MAX + 1]:
        message = "an IP address with a zone is not allowed"
        raise CelError(message)
    try:
        if len(text) > _TEXT_MAX:
            raise ValueError  # noqa: TRY301 - refused alike
        if ":" not in text:
            return IP(int(ipaddress.IPv4Address(text)), IPV4_BITS), False
        value = int(ipaddress.IPv6Address(text))
    except ValueError:
        message = "not an IP address: want `192.0.2.1` or `2001:db8::1`"
        raise CelError(message) from None
    if value >> IPV4_BITS != _MAPPED:
        return IP(value, IPV6_BITS), False
    if "." in text:
        message = "an IPv4-mapped IPv6 address is not allowed: write the IPv4 address"
        raise CelError(message)
    return IP(value & _BROADCAST, IPV4_BITS), True


def read_ip(text: str) -> IP:
    """`192.0.2.1`, `2001:db8::1`.

    Raises:
        CelError: not an address.
    """
    return _read_address(text)[0]


def read_cidr(text: str) -> CIDR:
    """`10.0.0.0/8`, `2001:db8::/32`.

    Raises:
        CelError: not a block.
    """
    address, _, digits = text[: _TEXT_MAX + 1].partition("/")
    ip, mapped = _read_address(address)
    if mapped:
        message = "a block of IPv4-mapped IPv6 addresses is not allowed: write it as IPv4"
        raise CelError(message)
    if not _PREFIX.fullmatch(digits) or int(digits) > ip.bits:
        message = "not a block of IP addresses: want `10.0.0.0/8` or `2001:db8::/32`"
        raise CelError(message)
    return CIDR(ip, int(digits))


def is_canonical(text: Datum, meter: Meter) -> bool:
    """`ip.isCanonical(text)`: whether RFC 5952 would write the address so."""
    if type(text) is not str:
        raise no_overload("ip.isCanonical", text)
    charge(meter, 2 * _READ_UNITS)
    return str(read_ip(text)) == text


# -- addresses ---------------------------------------------------------------


def ip(operand: Datum, meter: Meter) -> IP:
    """`ip(text)`, and `cidr.ip()`, its host bits kept."""
    if type(operand) is CIDR:
        return operand.ip
    if type(operand) is str:
        charge(meter, _READ_UNITS)
        return read_ip(operand)
    raise no_overload("ip", operand)


# The classes of addresses as Go's `net/netip` draws them.


def _is_loopback(address: IP) -> bool:
    if address.bits == IPV4_BITS:
        return address.value >> 24 == 127  # noqa: PLR2004 - 127.0.0.0/8
    return address.value == 1


def _is_unspecified(address: IP) -> bool:
    return address.value == 0


def _is_multicast(address: IP) -> bool:
    if address.bits == IPV4_BITS:
        return address.value >> 28 == 0xE  # noqa: PLR2004 - 224.0.0.0/4
    return address.value >> 120 == 0xFF  # noqa: PLR2004 - ff00::/8


def _is_link_local_multicast(address: IP) -> bool:
    if address.bits == IPV4_BITS:
        return address.value >> 8 == 0xE00000  # noqa: PLR2004 - 224.0.0.0/24
    return (address.value >> 112) & 0xFF0F == 0xFF02  # noqa: PLR2004 - ffx2::/16


def _is_link_local_unicast(address: IP) -> bool:
    if address.bits == IPV4_BITS:
        return address.value >> 16 == 0xA9FE  # noqa: PLR2004 - 169.254.0.0/16
    return address.value >> 118 == 0xFE80 >> 6  # fe80::/10


def _is_global_unicast(address: IP) -> bool:
    """Private addresses count: they are global unicast to Go, and to the specification."""
    if address.bits == IPV4_BITS and address.value == _BROADCAST:
        return False
    return not (
        _is_unspecified(address)
        or _is_loopback(address)
        or _is_multicast(address)
        or _is_link_local_unicast(address)
    )


def _family(address: IP) -> int:
    return 4 if address.bits == IPV4_BITS else 6


# -- blocks ------------------------------------------------------------------


def cidr(text: Datum, meter: Meter) -> CIDR:
    """`cidr(text)`."""
    if type(text) is not str:
        raise no_overload("cidr", text)
    charge(meter, _READ_UNITS)
    return read_cidr(text)


def contains_ip(block: Datum, address: Datum, meter: Meter) -> bool:
    """`cidr.containsIP(ip or text)`. An address of the other family is never inside."""
    if type(block) is CIDR:
        if type(address) is str:
            charge(meter, _READ_UNITS)
            address = read_ip(address)
        if type(address) is IP:
            bits = block.ip.bits
            return address.bits == bits and not (
                (address.value ^ block.ip.value) >> (bits - block.prefix)
            )
    raise no_overload("containsIP", block, address)


def holds_text(block: CIDR) -> Callable[[Datum, Meter], bool]:
    """`block.containsIP(ip(operand))` for a block that the policy wrote: same value and charge."""
    network, bits, shift = block.ip.value, block.ip.bits, block.ip.bits - block.prefix
    is_ipv4 = bits == IPV4_BITS

    def holds(operand: Datum, meter: Meter) -> bool:
        if type(operand) is not str:
            return contains_ip(block, ip(operand, meter), meter)
        charge(meter, _READ_UNITS)
        value = _four_octets(operand)
        if value is None:
            return contains_ip(block, read_ip(operand), meter)
        return is_ipv4 and not (value ^ network) >> shift

    return holds


def contains_cidr(block: Datum, other: Datum, meter: Meter) -> bool:
    """`cidr.containsCIDR(cidr or text)`: every address of the other is in this one."""
    if type(block) is CIDR:
        if type(other) is str:
            charge(meter, _READ_UNITS)
            other = read_cidr(other)
        if type(other) is CIDR:
            return other.prefix >= block.prefix and contains_ip(block, other.ip, meter)
    raise no_overload("containsCIDR", block, other)


def _masked(block: CIDR) -> CIDR:
    """The block with its host bits cleared."""
    below = block.ip.bits - block.prefix
    return CIDR(IP(block.ip.value >> below << below, block.ip.bits), block.prefix)


_ADDRESS_PARTS: tuple[tuple[str, str, str, Callable[[IP], Datum]], ...] = (
    ("family", "ip_family", "int", _family),
    ("isLoopback", "ip_is_loopback", "bool", _is_loopback),
    ("isUnspecified", "ip_is_unspecified", "bool", _is_unspecified),
    ("isGlobalUnicast", "ip_is_global_unicast", "bool", _is_global_unicast),
    ("isLinkLocalMulticast", "ip_is_link_local_multicast", "bool", _is_link_local_multicast),
    ("isLinkLocalUnicast", "ip_is_link_local_unicast", "bool", _is_link_local_unicast),
)
_BLOCK_PARTS: tuple[tuple[str, str, str, Callable[[CIDR], Datum]], ...] = (
    ("masked", "cidr_masked", "net.CIDR", _masked),
    ("prefixLength", "cidr_prefix_length", "int", lambda block: block.prefix),
)
_STRING_TO_BOOL = "(string) -> bool"

LIBRARY = make_library(
    "network",
    define(
        "ip",
        {"string_to_ip": "(string) -> net.IP", "cidr_ip": "net.CIDR.() -> net.IP"},
        ip,
        folds=True,
    ),
    define("cidr", {"string_to_cidr": "(string) -> net.CIDR"}, cidr, folds=True),
    define("isIP", {"is_ip": _STRING_TO_BOOL}, can_be_read(read_ip, "isIP", _READ_UNITS)),
    define("isCIDR", {"is_cidr": _STRING_TO_BOOL}, can_be_read(read_cidr, "isCIDR", _READ_UNITS)),
    define("ip.isCanonical", {"ip_is_canonical": _STRING_TO_BOOL}, is_canonical),
    define(
        "containsIP",
        {
            "cidr_contains_ip": "net.CIDR.(net.IP) -> bool",
            "cidr_contains_ip_string": "net.CIDR.(string) -> bool",
        },
        contains_ip,
        literal=read_ip,
    ),
    define(
        "containsCIDR",
        {
            "cidr_contains_cidr": "net.CIDR.(net.CIDR) -> bool",
            "cidr_contains_cidr_string": "net.CIDR.(string) -> bool",
        },
        contains_cidr,
        literal=read_cidr,
    ),
    *(
        define(name, {overload: f"net.IP.() -> {result}"}, part_of(IP, name, take), metered=False)
        for name, overload, result, take in _ADDRESS_PARTS
    ),
    *(
        define(
            name, {overload: f"net.CIDR.() -> {result}"}, part_of(CIDR, name, take), metered=False
        )
        for name, overload, result, take in _BLOCK_PARTS
    ),
    types=(NAMES[IP], NAMES[CIDR]),
)
