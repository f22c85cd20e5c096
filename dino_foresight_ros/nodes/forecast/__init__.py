"""forecast_node: a camera stream in, forecasts out."""
