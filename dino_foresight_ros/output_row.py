"""What a row of the table of outputs says (`outputs.py`)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class StepZero(Enum):
    """Whether step 0, the newest context frame itself, has an output."""

    ALWAYS = "always"
    FROM_FEATURES = "unless its head reads the forecaster's layers"
    NEVER = "never"


@dataclass(frozen=True)
class Topic:
    """A topic of each step, `foresight/step_K/NAME`.

    Attributes:
        name: what stands after the step.
        output: name of the output that it shows.
        encoding: of its sensor_msgs/Image.
        description: for the documentation.
        kind: the kind of head that it is published of; None for any.
        is_colored: whether it shows the output in colours instead of its values.
    """

    name: str
    output: str
    encoding: str
    description: str
    kind: str | None = None
    is_colored: bool = False


@dataclass(frozen=True)
class Output:
    """One thing that a forecast can hold of an instant; also the field of `Scene` of that name.

    Attributes:
        name: in parameters and in the Python interface.
        description: one line for the documentation.
        head: the head, and its task, that gives it; None for what the forecaster itself predicts.
        dtype: NumPy's name of its values' type.
        channels: values per pixel; None where the model decides.
        encoding: of its sensor_msgs/Image; None for what is no image.
        topics: of each step.
        message_field: the ForecastStep field that carries it; None where none does.
        step_0: whether the newest context frame has it too.
        beside: another field of `Scene` that comes with it and is no image.
    """

    name: str
    description: str
    head: str | None
    dtype: str
    channels: int | None
    encoding: str | None = None
    topics: tuple[Topic, ...] = ()
    message_field: str | None = None
    step_0: StepZero = StepZero.FROM_FEATURES
    beside: str | None = None
