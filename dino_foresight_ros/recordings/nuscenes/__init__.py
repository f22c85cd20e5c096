"""nuScenes drives as rosbag2, from the official JSON tables. No torch, no ROS."""
