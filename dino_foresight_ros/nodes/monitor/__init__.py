"""monitor_node: forecasts beside what came."""
