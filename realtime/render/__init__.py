"""Render: a result becomes a picture. Pure: frame in, canvas out, nothing kept (caches apart).

The layers, from the bottom: what is behind a matte, class map, road surface, mattes or masks, trails, boxes, labels.
"""

from realtime.render.backgrounds import Background, Blur, Picture, Plain
from realtime.render.canvas import compose
from realtime.render.look import Look
from realtime.render.marks import UNSEEN_SHADE

__all__ = ["UNSEEN_SHADE", "Background", "Blur", "Look", "Picture", "Plain", "compose"]
