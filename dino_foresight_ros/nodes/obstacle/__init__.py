"""obstacle_node: obstacles of forecasts as clouds, grids and time to contact."""
