"""The running process: its CPU threads, its memory, and its end. Imports neither torch nor ROS."""
