"""Render: draws a result. Pure: frame in, canvas out, no state but caches; `Painter` alone remembers the places of labels.

The layers, from the bottom: replaced background, class map, road surface, mattes or masks, trails, boxes, the selected object's
halo, labels.
"""

from realtime.render.backgrounds import Background, Blur, Picture, Plain
from realtime.render.canvas import Painter, compose
from realtime.render.look import UNSEEN_SHADE, Look

__all__ = ["UNSEEN_SHADE", "Background", "Blur", "Look", "Painter", "Picture", "Plain", "compose"]
