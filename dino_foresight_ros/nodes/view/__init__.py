"""view_node: forecasts in a browser or a recording of the viewer."""
