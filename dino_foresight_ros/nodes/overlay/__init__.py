"""overlay_node: pictures, clouds and captions of forecasts for RViz."""
