"""Hashes of what images show: near for the same picture in another dress, far for other pictures."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from burnish.data.image_hash import NEAR, difference_hash, near_image_clusters


def scene(seed: int, size: int = 64) -> Image.Image:
    """Smooth noise, as photographs are."""
    noise = np.random.default_rng(seed).integers(0, 255, (8, 8, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize((size, size), Image.Resampling.BICUBIC)


def distance(one: str, other: str) -> int:
    return (int(one, 16) ^ int(other, 16)).bit_count()


def test_it_is_256_bits_of_rising_brightness() -> None:
    ramp = np.tile(np.arange(34, dtype=np.uint8) * 7, (32, 1))
    assert difference_hash(Image.fromarray(ramp)) == "f" * 64
    assert difference_hash(Image.fromarray(ramp[:, ::-1].copy())) == "0" * 64
    assert difference_hash(Image.new("RGB", (5, 5), (9, 9, 9))) == "0" * 64


def test_size_compression_and_light_change_few_bits() -> None:
    original = scene(1)
    stream = io.BytesIO()
    original.resize((200, 160)).point(lambda value: int(value * 0.8)).save(stream, "JPEG", quality=70)
    assert distance(difference_hash(original), difference_hash(Image.open(stream))) <= NEAR


def test_other_pictures_are_far() -> None:
    hashes = [difference_hash(scene(seed)) for seed in range(30)]
    assert min(distance(a, b) for i, a in enumerate(hashes) for b in hashes[:i]) > 4 * NEAR


def test_clusters_are_those_of_brute_force() -> None:
    random = np.random.default_rng(0)
    bits = random.integers(0, 2, (60, 256), dtype=np.uint8)
    for row in range(1, 60, 3):  # chains: each like the one before
        bits[row] = bits[row - 1]
        bits[row, random.choice(256, size=random.integers(0, 2 * NEAR), replace=False)] ^= 1
    hashes = [np.packbits(row).tobytes().hex() for row in bits]
    found = near_image_clusters(hashes)
    names = list(range(60))
    for i in range(60):
        for j in range(i):
            if distance(hashes[i], hashes[j]) <= NEAR:
                names = [names[j] if name == names[i] else name for name in names]
    same_wanted = [[a == b for b in names] for a in names]
    assert (found[:, None] == found).tolist() == same_wanted
