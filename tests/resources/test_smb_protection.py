"""Signing and encryption: what one side does the other undoes, and nothing altered passes."""

from __future__ import annotations

import dataclasses
import os
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resources.smb_protection import Keys, ProtectionError, Sealer, sign, verify

OURS = Keys(session=7, gcm=True, gmac=True, encryption=b"c" * 16, decryption=b"s" * 16, signing=b"k" * 16)


def server_of(keys: Keys) -> Keys:
    return dataclasses.replace(keys, encryption=keys.decryption, decryption=keys.encryption)


@pytest.mark.parametrize("gcm", [True, False])
@pytest.mark.parametrize("lengths", [(0,), (1,), (64, 20_000), (64, 48, 65_424), (64, 48, 3_000_000), (100_001, 3)])
def test_what_is_sealed_is_unsealed_the_same(lengths: tuple[int, ...], *, gcm: bool) -> None:
    keys = dataclasses.replace(OURS, gcm=gcm)
    parts = [os.urandom(length) for length in lengths]
    packet = b"".join(Sealer(keys).seal(parts))
    assert bytes(Sealer(server_of(keys)).unseal(memoryview(packet))) == b"".join(parts)
    assert b"".join(parts) not in packet or sum(lengths) < 8


def test_the_buffers_are_used_again_without_mixing_messages() -> None:
    sealer, server = Sealer(OURS), Sealer(server_of(OURS))
    for length in (200_000, 100_000, 70_000, 300_000, 10):
        data = os.urandom(length)
        assert bytes(server.unseal(memoryview(b"".join(sealer.seal([data]))))) == data


@pytest.mark.parametrize("length", [100, 100_000])
@given(st.data())
def test_one_flipped_bit_anywhere_is_noticed(length: int, data: st.DataObject) -> None:
    packet = bytearray(b"".join(Sealer(OURS).seal([bytes(length)])))
    # Two bytes after the length in the header are reserved: they are authenticated, too.
    at = data.draw(st.integers(0, len(packet) * 8 - 1))
    packet[at // 8] ^= 1 << at % 8
    with pytest.raises(ProtectionError):
        Sealer(server_of(OURS)).unseal(memoryview(packet))


def test_an_answer_in_clear_text_is_refused_where_encryption_was_agreed_upon() -> None:
    with pytest.raises(ProtectionError, match="without encryption"):
        Sealer(OURS).unseal(memoryview(b"\xfeSMB" + bytes(100)))
    with pytest.raises(ProtectionError):
        Sealer(OURS).unseal(memoryview(b"\xfdSMB"))


def test_a_nonce_is_never_used_twice() -> None:
    sealer = Sealer(OURS)
    nonces = {bytes(sealer.seal([b"x"])[0][20:32]) for _ in range(1000)}
    assert len(nonces) == 1000


@pytest.mark.parametrize("gmac", [True, False])
def test_a_signature_covers_header_body_and_message_id(*, gmac: bool) -> None:
    keys = dataclasses.replace(OURS, gmac=gmac)
    header = bytearray(b"\xfeSMB" + struct.pack("<H", 64) + bytes(58))
    sign(keys, header, [b"body", b"data"], 5)
    assert header[48:64] != bytes(16)
    with pytest.raises(ProtectionError):  # our own signature is not the server's: no reflection
        verify(dataclasses.replace(keys, gmac=True), memoryview(bytes(header) + b"bodydata"), 5)
    if not gmac:  # AES-CMAC does not know the direction
        message = bytearray(header + b"bodydata")
        verify(keys, memoryview(message), 5)
        for at in (0, 47, 48, 63, 64, 71):
            altered = bytearray(message)
            altered[at] ^= 1
            with pytest.raises(ProtectionError):
                verify(keys, memoryview(altered), 5)


def test_keys_are_not_in_their_repr() -> None:
    assert "cccc" not in repr(OURS)
    assert "kkkk" not in repr(OURS)
