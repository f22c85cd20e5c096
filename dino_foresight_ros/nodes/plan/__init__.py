"""plan_node: ranks trajectories that the robot might go by what it would see on them."""
