# SPDX-License-Identifier: GPL-2.0-or-later
"""The actors' encoder held against the golden vectors of protocol.md 10, byte for byte."""

import struct

import direct
import oscar
from case import case
from handles import expect_equal
from wire import dotted

VECTORS = {
    "G01": "2a011000000400000001",
    "G02": (
        "2a01135a00810000000100010006313030303031000200068043e2b65cf20003003349435120496e632e202d2050726f6475"
        "6374206f66204943512028544d292e32303030622e342e36352e312e333238312e383500160002010a001700020004001800"
        "020041001900020001001a00020cd10014000400000055000f0002656e000e00027573"),
    "G03": (
        "2a041001003400010006313030303031000500123139382e35312e3130302e32353a35313930000600100102030405060708"
        "090a0b0c0d0e0f10"),
    "G07": "2a022001001c0017000600000000000100010006313030303031004b0000005a0000",
    "G08": "2a021004001600170007000000000001000a31323334353637383930",
    "G09": (
        "2a0220020066001700020000000000020001000631303030303100030008494351426173696300250010862a71ebc6b0913a"
        "c23b3ace99ca995100160002010a001700020014001800020034001900020000001a00020bb8001400040000043d000f0002"
        "656e000e00027573"),
    "G10": "2a013001001800000001000600100102030405060708090a0b0c0d0e0f10",
    "G11": (
        "2a02e566003a0001000500008ecdb197000d00020010000500123139382e35312e3130302e34303a35313930000600100102"
        "030405060708090a0b0c0d0e0f10"),
    "G15": (
        "2a02101000540001000f0000800000100631303030303100000004000100020050000c002500000000000000000000000000"
        "000000000000000000000000000000000000000000000000000a0004cb0071050006000400000000"),
    "G16": (
        "2a02301000410001001e00000000001e0006000400030000000800020000000c0025c0a8011400005ff70400081122334400"
        "000050000000033bc0f5313bc0f8443bc0f5270000"),
    "G17": "2a02301100120001001e00000000001f0006000400000001",
    "G20": (
        "2a02301400430001001e80000000002200060001000200040006000400000000000c0025c0a8011400005ff704000a112233"
        "4400000050000000033bc0f5313bc0f8443bc0f5270000"),
    "G21": (
        "2a021030005e0003000b00008000003006323030303032000000050001000400000050000c00250a00000900007531040008"
        "5566778800000050000000033bc0f5313bc0f8443bc0f5270000000a0004c63364070006000400000000000300043bc0f000"),
    "G26": "2a0530500000",
    "G27": "2a0430510000",
    "P01": "1a00ff0300000000000000420d03000a000009c63364070431750000",
    "P02": "2c00ff06002700a1860100000031750000420d0300c63364070a0000090431750000887766555000000003000000",
    "P03": "2c00ff06002700420d0300000000000000a1860100cb007105c0a8011404f75f0000887766555000000003000000",
    "P04": "2c00ff07002700a1860100000031750000420d0300c63364070a0000090131750000887766555000000003000000",
    "P05": "3000ff07002b00a1860100000031750000420d0300c63364070a000009043175000088776655500000000300000000000000",
    "P06": "3000ff08002b00a1860100000031750000420d0300c63364070a000009043175000088776655500000000300000000000000",
    "P07": "3000ff08002b00a1860100000031750000420d0300c63364070a00000904317500008877665550000000030000002f000000",
    "P08": "3000ff08000000a1860100000031750000420d0300c63364070a000009043175000088776655500000000300000000000000",
    "P09": "2400ff06000000a1860100000031750000420d0300c63364070a000009043175000088776655",
    "P10": "040001000000",
    "P11": "2100030a00000001000000000000000000000000000000000000000000000001000400",
    "P15": "3000ff08002b00a186010000003175000000000000c63364070a00000904317500008877665550000000030000002f000000",}

COOKIE = bytes(range(1, 17))


def client_server():
    info = oscar.direct_info("192.168.1.20", 24567, 4, 8, 0x11223344)
    newest = oscar.direct_info("192.168.1.20", 24567, 4, 10, 0x11223344)
    peer = oscar.direct_info("10.0.0.9", 30001, 4, 8, 0x55667788)
    self_info = oscar.user_info(100001, [oscar.tlv16(1, 0x50), oscar.tlv(0x0C, bytes(37)),
                                         oscar.tlv(0x0A, dotted("203.0.113.5")), oscar.tlv32(6, 0)])
    buddy = oscar.user_info(200002, [oscar.tlv32(1, 0x50), oscar.tlv(0x0C, peer),
                                     oscar.tlv(0x0A, dotted("198.51.100.7")),
                                     oscar.tlv32(6, 0), oscar.tlv32(3, 0x3BC0F000)])
    redirect = oscar.tlv16(0x0D, 0x10) + oscar.tlv(5, "198.51.100.40:5190") + oscar.tlv(6, COOKIE)
    set_block = oscar.tlv32(6, 0) + oscar.tlv(0x0C, newest)
    return {
        "G01": oscar.flap(1, 0x1000, struct.pack(">I", 1)),
        "G02": oscar.flap(1, 0x135A, oscar.roasted_login(100001, "secret")),
        "G03": oscar.flap(4, 0x1001, oscar.login_reply(100001, "198.51.100.25:5190", COOKIE)),
        "G07": oscar.flap(2, 0x2001, oscar.snac(0x17, 6, oscar.md5_key_request(100001), 1)),
        "G08": oscar.flap(2, 0x1004, oscar.snac(0x17, 7, b"\0\x0a1234567890", 1)),
        "G09": oscar.flap(2, 0x2002, oscar.snac(0x17, 2, oscar.md5_login(100001, "secret", b"1234567890", False), 2)),
        "G10": oscar.flap(1, 0x3001, struct.pack(">I", 1) + oscar.tlv(6, COOKIE)),
        "G11": oscar.flap(2, 0xE566, oscar.snac(1, 5, redirect, 0x8ECDB197)),
        "G15": oscar.flap(2, 0x1010, oscar.snac(1, 0x0F, self_info, 0x80000010)),
        "G16": oscar.flap(2, 0x3010, oscar.snac(1, 0x1E, oscar.set_status(0x30000, info), 0x1E)),
        "G17": oscar.flap(2, 0x3011, oscar.snac(1, 0x1E, oscar.set_status(1), 0x1F)),
        "G20": oscar.flap(2, 0x3014, oscar.snac(1, 0x1E, set_block, 0x22, block=oscar.tlv16(1, 4))),
        "G21": oscar.flap(2, 0x1030, oscar.snac(3, 0x0B, buddy, 0x80000030)),
        "G26": oscar.flap(5, 0x3050),
        "G27": oscar.flap(4, 0x3051),
    }


def peers():
    common = {"to": 100001, "own": 200002, "port": 30001, "cookie": 0x55667788, "external": "198.51.100.7"}
    answer = {"to": 200002, "own": 100001, "port": 24567, "cookie": 0x55667788, "external": "203.0.113.5",
              "internal": "192.168.1.20", "first_port": 0}
    old = direct.peer_init("old", 0, 200002, 30001, external="198.51.100.7")
    bodies = {
        "P01": old,
        "P02": direct.peer_init("v6", **common),
        "P03": direct.peer_init("v6", **answer),
        "P04": direct.peer_init("v7-in-v6", dc_type=1, **common),
        "P05": direct.peer_init("v7", **common),
        "P06": direct.peer_init("v8", **common),
        "P07": direct.peer_init("v8", connect_id=0x2F, **common),
        "P08": direct.peer_init("gnome", **common),
        "P09": direct.peer_init("v6-short", **common),
        "P10": direct.INIT_ACK,
        "P11": direct.INIT2,
        "P15": direct.peer_init("v8", connect_id=0x2F, **{**common, "own": 0}),
    }
    return {name: direct.packet(body) for name, body in bodies.items()}


@case(self_test=True)
def encoder_makes_the_golden_vectors(_lab):
    """MUST: every packet the actors send has the bytes of its golden vector."""
    made = {**client_server(), **peers()}
    for name, packet in made.items():
        expect_equal(packet.hex(), VECTORS[name], name)
    expect_equal(sorted(made), sorted(VECTORS), "vectors covered")


@case(self_test=True)
def decoder_reads_the_golden_vectors(_lab):
    """MUST: what the actors read out of the vectors is what protocol.md says stands in them.
    NOT: a SNAC whose extra block is longer than itself is not read at all."""
    snac = oscar.parse_snac(bytes.fromhex(VECTORS["G20"])[6:])
    info = oscar.parse_direct_info(oscar.first_tlvs(snac.body)[0x0C])
    expect_equal(tuple(info), ("192.168.1.20", 24567, 4, 10, 0x11223344), "G20")
    name, tlvs, rest = oscar.parse_user_info(oscar.parse_snac(bytes.fromhex(VECTORS["G21"])[6:]).body)
    expect_equal((name, len(tlvs), rest), ("200002", 5, b""), "G21")
    init = direct.parse_init(bytes.fromhex(VECTORS["P06"])[2:])
    expect_equal(init, {"version": 8, "to": 100001, "from": 200002, "port": 30001, "cookie": 0x55667788}, "P06")
    expect_equal(oscar.split_target(b"bos.icq.example\0", 5190), ("bos.icq.example", 5190), "TLV 5 without port")
    expect_equal(oscar.split_target(b"198.51.100.25:443", 5190), ("198.51.100.25", 443), "TLV 5 with port")
    try:
        oscar.parse_snac(oscar.snac(1, 0x1E, b"\0\x40\0", flags=0x8000))
    except ValueError:
        return
    raise AssertionError("an over-long block was read")
