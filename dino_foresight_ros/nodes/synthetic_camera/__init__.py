"""synthetic_camera_node: a procedural world as a camera."""
