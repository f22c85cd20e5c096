"""plan_node: ranks ways that the robot might go by what it would see on them."""
