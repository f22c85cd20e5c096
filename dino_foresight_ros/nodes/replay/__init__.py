"""replay_node: a recording played as a camera."""
