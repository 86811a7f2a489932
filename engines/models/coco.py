"""The class names of COCO: many models are trained on it, and their files do not say so."""

_NAMES = """
person, bicycle, car, motorcycle, airplane, bus, train, truck, boat, traffic light, fire hydrant, stop sign, parking
meter, bench, bird, cat, dog, horse, sheep, cow, elephant, bear, zebra, giraffe, backpack, umbrella, handbag, tie,
suitcase, frisbee, skis, snowboard, sports ball, kite, baseball bat, baseball glove, skateboard, surfboard, tennis
racket, bottle, wine glass, cup, fork, knife, spoon, bowl, banana, apple, sandwich, orange, broccoli, carrot, hot dog,
pizza, donut, cake, chair, couch, potted plant, bed, dining table, toilet, tv, laptop, mouse, remote, keyboard, cell
phone, microwave, oven, toaster, sink, refrigerator, book, clock, vase, scissors, teddy bear, hair drier, toothbrush
"""

COCO_CLASSES: tuple[str, ...] = tuple(name.strip() for name in _NAMES.replace("\n", " ").split(","))
"""The 80, in their order."""

COCO_IDS = 91
"""COCO itself numbers them from 1 to 90, with gaps: a network of so many classes has each at the place of its number."""

_UNUSED_IDS = (0, 12, 26, 29, 30, 45, 66, 68, 69, 71, 83)
"""Source: COCO's annotation files, `categories`."""


def names_by_id() -> dict[int, str]:
    """COCO's own number → name."""
    return dict(zip((number for number in range(COCO_IDS) if number not in _UNUSED_IDS), COCO_CLASSES, strict=True))
