"""What can be asked of a bundle's forecasts, and the refusal of what cannot."""

from __future__ import annotations

from collections.abc import Sequence

from dino_foresight_ros.errors import UsageError
from dino_foresight_ros.model import Bundle
from dino_foresight_ros.outputs import FEATURES, SPREAD, outputs_of_heads, outputs_of_step_0
from dino_foresight_ros.runtime.request import OutputRequest, is_whole


class Capabilities:
    """Outputs, horizons, samples and motion that a bundle's parts can answer for.

    Attributes:
        outputs: that the bundle can give, features aside.
        outputs_of_step_0: those of them that step 0 has too: heads on the forecaster's layers need
            a prediction.
    """

    def __init__(self, bundle: Bundle) -> None:
        self._name, self._forecaster = bundle.name, bundle.forecaster
        several = {SPREAD} if bundle.forecaster.max_samples > 1 else frozenset()
        layered = {name for name, read in bundle.inputs.items() if read.layers}
        self.outputs = outputs_of_heads(bundle.heads) | several
        self.outputs_of_step_0 = outputs_of_step_0(self.outputs, layered)

    def checked(self, request: OutputRequest, steps: int) -> OutputRequest:
        """The request.

        Args:
            request: what is wanted of a frame.
            steps: how many there are where the request names no horizons of its own.

        Raises:
            UsageError: outputs, horizons, samples or a motion that cannot be had.
        """
        features = {FEATURES}
        if request.ahead_s is not None:
            self.checked_horizons(request.ahead_s)
        samples, most = request.samples, self._forecaster.max_samples
        if samples is not None and (not is_whole(samples) or not 1 <= samples <= most):
            raise UsageError(
                f"samples is {samples!r}; bundle {self._name} "
                + (f"draws 1 to {most}" if most > 1 else "forecasts one future")
            )
        steps = steps if request.ahead_s is None else len(request.ahead_s)
        if request.motion is not None and not self._forecaster.takes_motion:
            raise UsageError(f"bundle {self._name} takes no motion")
        wanted = request.last_step(steps)
        if request.motion is not None and len(request.motion) < wanted:
            raise UsageError(f"motion is given until {len(request.motion)} of {wanted} horizons")
        request.check(self.outputs | features, self.outputs_of_step_0 | features, steps)
        return request

    def checked_horizons(self, ahead_s: Sequence[float]) -> tuple[float, ...]:
        """Seconds ahead of each step.

        Raises:
            UsageError: horizons that the forecaster does not answer.
        """
        try:
            self._forecaster.check_horizons(ahead_s)
        except ValueError as error:
            raise UsageError(f"bundle {self._name}: {error}") from error
        return tuple(float(ahead) for ahead in ahead_s)
