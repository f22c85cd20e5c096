"""What the entry points name. It imports nothing heavy: every command reads it."""

from dino_foresight_ros.output_row import Output, Topic
from dino_foresight_ros.plugins import DatasetPlugin, HeadPlugin

EDGES = HeadPlugin(
    outputs=(
        Output(
            "edges",
            "probability of a border between two classes, 0 to 1",
            head="edges",
            dtype="float32",
            channels=1,
            encoding="32FC1",
            topics=(Topic("edges", "edges", "32FC1", "probability of a border, 0 to 1"),),
        ),
    ),
    task="foresight_example.edges:EdgesTask",
    training="foresight_example.edges_training:EdgesTraining",
)

ARRAY = DatasetPlugin(
    open="foresight_example.array:open_arrays",
    keys=("rate",),
)
