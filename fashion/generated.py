"""Draws images that stand in for Fashion-MNIST where the real files cannot be had.

Owns: ten garment-like shapes and everything random about them. Does not own: the decision to use them, nor their
split (see `data.py`). The images have the form of the real ones and something to learn, so that every command can be
tried without a network; a figure reached on them says nothing about Fashion-MNIST, and is always marked as generated.

How: each class is drawn `VARIANTS` times on a canvas a little larger than an image, with its own proportions, cloth
and shade. An image is then a random window on a random variant, dimmed and covered with noise. The drawing is thus
done a few hundred times only, and 70,000 images are a matter of copying, which takes about a second.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]

SIDE = 28  # pixels, as in Fashion-MNIST
CLASSES = 10
VARIANTS = 200  # drawings of each class
SHIFT = 2  # pixels by which a garment can be off the centre
NOISE = 0.15  # standard deviation of a pixel's noise; images lie in [0, 1]
CHUNK = 2_000  # images drawn with one generator: bounds the memory, and makes the first n images the same for all n
BANK_SEED = 28_28  # the same drawings for every part of the data set, as the same shops stock train and test


def draw(count: int, seed: int) -> tuple[Floats, NDArray[np.int64]]:
    """Draws labelled images; the first n of a longer draw are those of a shorter one.

    Args:
        count: How many.
        seed: Tells the parts of a data set apart; the same seed gives the same images.

    Returns:
        Images, float32 `(count, 28, 28, 1)` in [0, 1], and labels, int64 `(count,)` in 0-9, the classes in equal
        shares.
    """
    bank = _draw_bank()
    images = np.empty((count, SIDE, SIDE, 1), np.float32)
    labels = np.empty(count, np.int64)
    for start in range(0, count, CHUNK):
        chunk = slice(start, min(start + CHUNK, count))
        size = chunk.stop - chunk.start
        pixels, classes = _draw_chunk(bank, np.random.default_rng([seed, start]))
        images[chunk, :, :, 0] = pixels[:size]
        labels[chunk] = classes[:size]
    return images, labels


def _draw_chunk(bank: Floats, rng: np.random.Generator) -> tuple[Floats, NDArray[np.int64]]:
    """Returns `CHUNK` images, `(CHUNK, 28, 28)`, and their labels, from a bank of drawings."""
    labels = rng.permutation(np.arange(CHUNK) % CLASSES)
    variants = rng.integers(VARIANTS, size=CHUNK)
    top, left = rng.integers(2 * SHIFT + 1, size=(2, CHUNK))
    windows = np.lib.stride_tricks.sliding_window_view(bank, (SIDE, SIDE), axis=(2, 3))
    images = windows[labels, variants, top, left]
    images *= rng.uniform(0.5, 1.0, size=(CHUNK, 1, 1)).astype(np.float32)
    images += np.float32(NOISE) * rng.standard_normal(images.shape, np.float32)
    np.clip(images, 0, 1, out=images)
    return images, labels


def _draw_bank() -> Floats:
    """Returns every variant of every class: float32 `(CLASSES, VARIANTS, side, side)`, side = 28 + 2 * SHIFT."""
    rng = np.random.default_rng(BANK_SEED)
    side = SIDE + 2 * SHIFT
    # A garment fills -1..1, and the canvas is wider than that by the margin for shifts. y points down.
    edge = side / SIDE
    across = np.linspace(-edge, edge, side, dtype=np.float32)
    x, y = across[None, None, :], across[None, :, None]
    drawings = (_tshirt, _trousers, _pullover, _dress, _coat, _sandal, _shirt, _sneaker, _bag, _boot)
    bank = np.empty((CLASSES, VARIANTS, side, side), np.float32)
    for label, drawing in enumerate(drawings):
        bank[label] = drawing(Pen(rng, x, y)) * _cloth(rng, y)
    return bank


def _cloth(rng: np.random.Generator, y: Floats) -> Floats:
    """Returns the shade of every variant, striped for some: `(VARIANTS, side, 1)` in about 0.4-1."""
    shade = rng.uniform(0.55, 1.0, (VARIANTS, 1, 1))
    stripes = rng.choice([0.0, 0.0, 0.25], (VARIANTS, 1, 1))
    wave = np.sin(y * rng.uniform(8, 20, (VARIANTS, 1, 1)) + rng.uniform(0, 6, (VARIANTS, 1, 1)))
    cloth: Floats = (shade * (1 - stripes * (wave > 0))).astype(np.float32)
    return cloth


class Pen:
    """What the drawings share: the coordinates, and proportions picked anew for each variant.

    `x` is `(1, 1, side)` and `y` `(1, side, 1)`; `pick` gives `(VARIANTS, 1, 1)`, so a mask made of them is
    `(VARIANTS, side, side)`.
    """

    def __init__(self, rng: np.random.Generator, x: Floats, y: Floats) -> None:
        self.rng = rng
        self.x = x
        self.y = y
        self.side: Floats = np.abs(x)  # most garments are symmetrical: distance from the middle

    def pick(self, low: float, high: float) -> Floats:
        """Returns one number in low..high for each variant."""
        return self.rng.uniform(low, high, (VARIANTS, 1, 1)).astype(np.float32)

    def top(self, sleeve_low: float, sleeve_high: float) -> Mask:
        """A body with a neck and two sleeves, whose lengths lie between the two bounds."""
        body = self.pick(0.36, 0.5)
        hem = self.pick(0.65, 0.85)
        sleeve = self.pick(sleeve_low, sleeve_high)
        spread = self.pick(0.0, 0.3)
        torso = (self.side < body) & (self.y > -0.8) & (self.y < hem)
        # A sleeve leaves the shoulder and falls outwards by `spread`.
        fall = self.y + 0.8
        arm = (self.side > body - 0.1) & (self.side < body + 0.12 + spread * fall + 0.1)
        arm &= (self.side > body + spread * fall - 0.12) & (fall > 0.3 * (self.side - body)) & (fall < sleeve)
        neck = (self.side < self.pick(0.12, 0.22)) & (self.y < self.pick(-0.75, -0.6))
        return (torso | arm) & ~neck

    def shoe(self, height_low: float, height_high: float) -> Mask:
        """A shoe seen from its side, toe on the left, with a closed upper of the given height."""
        height = self.pick(height_low, height_high)
        slope = self.pick(0.2, 0.4)
        return (self.side < 0.9) & (self.y < 0.5) & (self.y > 0.5 - height - slope * (self.x - 0.2))

    def sole(self) -> Mask:
        """The sole under a shoe, sometimes with a heel."""
        thick = self.pick(0.08, 0.18)
        heel = (self.x > 0.5) & (self.y < 0.5 + thick + self.pick(0.0, 0.25))
        return (self.side < 0.92) & (self.y >= 0.5) & ((self.y < 0.5 + thick) | heel)


def _tshirt(pen: Pen) -> Mask:
    return pen.top(0.45, 0.8)


def _trousers(pen: Pen) -> Mask:
    outer = pen.pick(0.3, 0.45) + pen.pick(-0.05, 0.08) * pen.y
    between_legs = (pen.side < pen.pick(0.04, 0.1)) & (pen.y > pen.pick(-0.4, -0.1))
    legs: Mask = (pen.side < outer) & (pen.y > -0.9) & (pen.y < pen.pick(0.7, 0.95)) & ~between_legs
    return legs


def _pullover(pen: Pen) -> Mask:
    return pen.top(1.2, 1.6)


def _dress(pen: Pen) -> Mask:
    waist = pen.pick(-0.3, 0.1)
    flare = pen.pick(0.1, 0.4) * np.maximum(pen.y - waist, 0)
    neck = (pen.side < pen.pick(0.08, 0.18)) & (pen.y < -0.75)
    skirt = (pen.side < pen.pick(0.2, 0.36) + flare) & (pen.y > -0.9) & (pen.y < pen.pick(0.75, 0.95))
    dress: Mask = skirt & ~neck
    return dress


def _coat(pen: Pen) -> Mask:
    opening = (np.abs(pen.x - pen.pick(-0.08, 0.08)) < pen.pick(0.02, 0.07)) & (pen.y > -0.6)
    coat: Mask = pen.top(1.2, 1.6) & ~opening
    return coat


def _sandal(pen: Pen) -> Mask:
    strap = np.abs(pen.x - pen.pick(-0.6, -0.3)) < pen.pick(0.08, 0.16)
    back = np.abs(pen.x - pen.pick(0.4, 0.7)) < pen.pick(0.08, 0.16)
    sandal: Mask = (pen.shoe(0.25, 0.6) & (strap | back)) | pen.sole()
    return sandal


def _shirt(pen: Pen) -> Mask:
    # Sleeves of any length and a faint row of buttons: as in the real data, the class that is mixed up most.
    buttons = (pen.side < pen.pick(0.0, 0.05)) & (np.sin(pen.y * pen.pick(14, 20)) > 0) & (pen.y > -0.6)
    shirt: Mask = pen.top(0.6, 1.5) & ~buttons
    return shirt


def _sneaker(pen: Pen) -> Mask:
    return pen.shoe(0.2, 0.5) | pen.sole()


def _bag(pen: Pen) -> Mask:
    width, lid = pen.pick(0.55, 0.9), pen.pick(-0.35, 0.0)
    body = (pen.side < width) & (pen.y > lid) & (pen.y < pen.pick(0.5, 0.85))
    radius = np.sqrt((pen.x / (0.7 * width)) ** 2 + ((pen.y - lid) / pen.pick(0.4, 0.7)) ** 2)
    handle = (np.abs(radius - 0.9) < 0.14) & (pen.y <= lid)
    bag: Mask = body | handle
    return bag


def _boot(pen: Pen) -> Mask:
    shaft = (pen.x > pen.pick(-0.2, 0.1)) & (pen.x < 0.85) & (pen.y > pen.pick(-0.9, -0.4)) & (pen.y < 0.5)
    return pen.shoe(0.2, 0.5) | shaft | pen.sole()
