"""The camera's motion from frame to frame: measured in every frame while it moves, checked at intervals while it rests."""

from engines.pictures.raw import PictureLike, size_of
from engines.types import U8, Segmentation, Size
from realtime.camera_motion.view import CameraStep, View, changed_levels, small_grey, step_between

MODES = ("auto", "on", "off")

_CHECK_S = 0.25
_STILL_S = 2.0
_STILL_LEVELS = 4.0  # grey levels by which the background's corners may differ while the camera counts as resting
_MOST_LEVELS = 12.0


class CameraMotion:
    """Follows the camera from frame to frame, and measures no more than needed. One stream, one thread."""

    def __init__(self, mode: str = "auto") -> None:
        """mode: "on" measures each frame, "off" none; "auto" measures until the background has been still for two seconds, then
        checks four times a second whether it moves again.
        """
        if mode not in MODES:
            raise ValueError(f"camera motion {mode!r} must be one of {', '.join(MODES)}")
        self._mode = mode
        self._before: View | None = None  # the previous call's frame, while following
        self._watch = _Watch()

    @property
    def is_following(self) -> bool:
        """Whether each frame is measured at present."""
        return self._mode == "on" or (self._mode == "auto" and self._watch.still_s < _STILL_S)

    def update(self, image: PictureLike, segmentation: Segmentation | None, dt_s: float) -> CameraStep:
        """The step from the previous call's image to `image`, `dt_s` seconds later.

        Where the motion is unknown, `is_sure` is False and the matrix the identity: in the first call, in mode "off", when the
        frame's size changed, in the one call that finds a resting camera moving, and whenever `camera_step` is not sure.
        """
        is_check_due = self._mode == "auto" and self._watch.is_due(dt_s)
        if not (self.is_following or is_check_due):
            return CameraStep(is_sure=self._mode == "auto" and self._watch.is_sure)
        grey, before, was_following = small_grey(image), self._before, self.is_following
        step = CameraStep()
        if before is not None and before.frame_size == size_of(image):
            step = step_between(before, grey)
        if step.is_moving:
            self._watch.still_s = 0.0
        if is_check_due:
            self._watch.check(grey, segmentation, size_of(image))
        if not (self.is_following or was_following):
            return CameraStep(is_sure=self._watch.is_sure)
        self._before = View.of_small(grey, segmentation, size_of(image)) if self.is_following else None
        return step


class _Watch:
    """Compares a frame with an older one at intervals, to detect that the background moves."""

    def __init__(self) -> None:
        self.still_s = 0.0
        """For how long no motion was found."""
        self.is_sure = False
        self._older: View | None = None
        self._since_s = 0.0
        self._still_levels = _STILL_LEVELS

    def is_due(self, dt_s: float) -> bool:
        """Add `dt_s` seconds; whether `check` is due."""
        self._since_s += max(dt_s, 0.0)
        return self._older is None or self._since_s >= _CHECK_S

    def check(self, grey: U8, segmentation: Segmentation | None, frame_size: Size) -> None:
        """Compare a small grey frame. First the grey levels, which is cheap: a corner that moves by half a pixel changes them."""
        older, passed_s, self._since_s = self._older, self._since_s, 0.0
        self.still_s += passed_s
        if older is None or older.frame_size != frame_size:
            self.still_s, self.is_sure = 0.0, False
            self._older = View.of_small(grey, segmentation, frame_size)
            return
        levels = changed_levels(older, grey)
        if levels <= self._still_levels:
            self.is_sure = True
            return
        step = step_between(older, grey)
        self.is_sure = step.is_sure
        self._older = View.of_small(grey, segmentation, frame_size)
        if step.is_moving:
            self.still_s = 0.0
        elif step.is_sure:  # the camera's noise is not motion
            self._still_levels = min(max(_STILL_LEVELS, 1.5 * levels), _MOST_LEVELS)
