"""Render: a result becomes a picture. Pure: frame in, canvas out, nothing kept (caches apart);
`Painter` alone remembers where labels stood.

The layers, from the bottom: what is behind a matte, class map, road surface, mattes or masks, trails, boxes, the
selected object's halo, labels.
"""

from realtime.render.backgrounds import Background, Blur, Picture, Plain
from realtime.render.canvas import Painter, compose
from realtime.render.look import UNSEEN_SHADE, Look

__all__ = ["UNSEEN_SHADE", "Background", "Blur", "Look", "Painter", "Picture", "Plain", "compose"]
