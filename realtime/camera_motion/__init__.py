"""How the camera moves, measured by the motion of the background between two frames.

`CameraMotion` follows a stream from frame to frame. `View` and `camera_step` compare two frames of one's own choice.
"""

from realtime.camera_motion.motion import MODES, CameraMotion
from realtime.camera_motion.view import LEAST_SHIFT, CameraStep, View, camera_step

__all__ = ["LEAST_SHIFT", "MODES", "CameraMotion", "CameraStep", "View", "camera_step"]
